"""The command line: choose a command, parse, run, turn errors into one line.

Help is printed without importing anything heavy: torch alone takes seconds.
"""

import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from fewshot.commands.help import PURPOSES, STUDIES, WITH_RESULTS, command_help, usage
from fewshot.complaints import complaint, print_anything, quiet_writers
from fewshot.interrupts import Interrupts
from fewshot.printing import option_of, printing, say_first
from guided.errors import InputError
from guided.progress import drop

ALLOCATION = re.compile(
    "not enough memory|out of memory|can't allocate memory|Storage size calculation overflowed|"
    "invalid size|numel: integer multiplication overflow|too large to be represented"
)
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST = 2000  # characters of an error's line
LONG = (*WITH_RESULTS, "select")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 1 when the doctor finds something, or what is reproduced does not
        agree; 2 when the input or the system is at fault; 130 after Ctrl-C; 143 after SIGTERM;
        141, as of a program that SIGPIPE ended, when nobody reads its output any more.
    """
    _open_standard_streams()
    print_anything()
    arguments = list(sys.argv[1:] if argv is None else argv)
    status = 0
    try:
        status = _main(arguments)
        sys.stdout.flush()  # or it would fail where nobody sees it, as Python ends
    except BrokenPipeError:
        _drop_broken(sys.stdout)
        if arguments and arguments[0] in LONG:
            _say_error(arguments[0], "nobody reads its output; run the same command again to go on")
        return 141
    except OSError as error:  # its disk is full
        drop(sys.stdout)
        if status == 0:
            _say_error(arguments[0] if arguments else "", complaint(error) or "")
        return status or 2
    return status


def _main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    name, *rest = arguments
    if name == "--version":
        from importlib.metadata import version

        print(version("guided-fewshot"))
        return 0
    if name not in PURPOSES:
        _say_error("", f"no command is called '{name}'{_nearest(name)}")
        return 2
    if {"-h", "--help"} & set(rest):
        print(command_help(name), end="")
        return 0
    return _run(name, rest)


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, PURPOSES, n=1)
    meant = f"; did you mean {close[0]}?" if close else "."
    return f"{meant} Commands: {', '.join(PURPOSES)}"


def _run(name: str, arguments: Sequence[str]) -> int:
    interrupts = Interrupts(name)
    try:
        with interrupts, quiet_writers():
            status = _attempt(name, arguments, interrupts)
    except KeyboardInterrupt:
        status, line = interrupts.ending
        _say(line)
    return status


def _attempt(name: str, arguments: Sequence[str], interrupts: Interrupts) -> int:
    try:
        option, arguments = option_of(arguments)
        replays = any(argument.startswith("--replay") for argument in arguments)
        if option == "json" and (name not in WITH_RESULTS or replays):
            raise InputError(f"--json: {name}{' --replay' * replays} writes no results.json")
        with printing(option):
            words = {argument.replace("_", "-") for argument in arguments}
            if name in LONG and not {"--print-config", "--help-all"} & words:
                say_first(name, arguments)
            status, results = _command(name, arguments, interrupts)
        if interrupts.received:  # and something has swallowed it
            raise KeyboardInterrupt
        if option == "json" and results:
            print(results, end="")
    except Exception as error:
        if interrupts.received:  # a library has turned it into this one
            raise KeyboardInterrupt from error
        if isinstance(error, BrokenPipeError):
            raise
        line = complaint(error) or _lack_of_memory(error)
        if line is None:
            raise
        _say_error(name, line)
        return 2
    return status


def _lack_of_memory(error: Exception) -> str | None:
    """The line for an allocation that failed; None for other errors.

    Torch raises ``RuntimeError`` on the CPU, a class of its own on a GPU, and refuses sizes that
    no machine has before it tries.
    """
    said = " ".join(str(error).split())
    failed = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not failed and not (isinstance(error, RuntimeError) and ALLOCATION.search(said)):
        return None
    asked = re.search("tried to allocate ([0-9]+) bytes", said)
    said = f"{int(asked[1]):,} bytes were asked for" if asked else said[:160]
    size = f" ({said})" if said else ""
    return (
        f"not enough memory{size}; lower the sizes in the configuration: widths, latent_dim, "
        "image_size, batch_size"
    )


def _say_error(name: str, line: str) -> None:
    # What a file says may stand in the line, and must not command the terminal.
    line = UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], line)
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
    _say(f"{f'fewshot {name}'.strip()}: {line}")


def _say(line: str) -> None:
    """One line on standard error; the status alone if it cannot be written there."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # or its disk is full
        drop(sys.stderr)


def _drop_broken(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:
        drop(stream)


def _open_standard_streams() -> None:
    """Open those that the caller has closed: a file of ours must not come to have their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(nowhere, mode, closefd=nowhere != number))


def _command(name: str, arguments: Sequence[str], interrupts: Interrupts) -> tuple[int, str | None]:
    """Run it; returns the exit status and the results as JSON, if there are any."""
    interrupts.loading = True
    from guided.malloc import reuse_memory

    reuse_memory()
    if _uses_workers(name, arguments):
        from fewshot.study.executors.origin import start_early

        start_early()
    command = importlib.import_module(f"fewshot.commands.{name}").main
    interrupts.loading = False
    try:
        results = command(arguments)
    except SystemExit as ended:  # after --help-all and --print-config
        return int(ended.code or 0), None
    if isinstance(results, dict):  # what was found, by the doctor or beside a published study
        return int(bool(results["problems"])), json.dumps(results, indent=1) + "\n"
    return 0, results.read_text(encoding="utf-8") if isinstance(results, Path) else None


def _uses_workers(name: str, arguments: Sequence[str]) -> bool:
    """Guessed from what is typed; a wrong guess costs or saves seconds, and changes nothing."""
    elsewhere = {"serial", "ray", "--executor=serial", "--executor=ray", "--print-config"}
    one = os.environ.get("FEWSHOT_WORKERS") == "1" or os.cpu_count() == 1
    return name in STUDIES and not (one or elsewhere & set(arguments))


if __name__ == "__main__":
    sys.exit(main())
