"""The command line: choose a command, parse, run, turn errors into one line.

Help is printed without importing anything heavy: torch alone takes seconds.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fewshot.commands.help import PURPOSES, WITH_RESULTS, command_help, usage
from fewshot.printing import option_of, printing, say_first
from guided.errors import InputError

LONG = (*WITH_RESULTS, "select")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 2 when the input is at fault; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    name, *rest = arguments
    if name == "--version":
        from importlib.metadata import version

        print(version("guided-fewshot"))
        return 0
    if name not in PURPOSES:
        print(f"fewshot: no command is called '{name}'{_nearest(name)}", file=sys.stderr)
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
    try:
        option, arguments = option_of(arguments)
        replays = any(argument.startswith("--replay") for argument in arguments)
        if option == "json" and (name not in WITH_RESULTS or replays):
            raise InputError(f"--json: {name}{' --replay' * replays} writes no results.json")
        with printing(option):
            words = {argument.replace("_", "-") for argument in arguments}
            if name in LONG and not {"--print-config", "--help-all"} & words:
                say_first(name, arguments)
            status, results = _command(name, arguments)
        if option == "json" and results:
            print(results.read_text(), end="")
    except InputError as error:
        print(f"fewshot {name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "interrupted; run the same command again to resume"
        print(f"fewshot {name}: {again}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return status


def _command(name: str, arguments: Sequence[str]) -> tuple[int, Path | None]:
    """Run it; returns the exit status and the file of results, if there is one."""
    # Imported here: Ctrl-C while torch loads is an ordinary Ctrl-C too.
    from guided.malloc import reuse_memory

    reuse_memory()
    if _uses_workers(name, arguments):
        from fewshot.study.executors.origin import start_early

        start_early()
    try:
        return 0, importlib.import_module(f"fewshot.commands.{name}").main(arguments)
    except SystemExit as ended:  # after --help-all and --print-config
        return int(ended.code or 0), None


def _uses_workers(name: str, arguments: Sequence[str]) -> bool:
    """Guessed from what is typed; a wrong guess costs or saves seconds, and changes nothing."""
    elsewhere = {"serial", "ray", "--executor=serial", "--executor=ray", "--print-config"}
    one = os.environ.get("FEWSHOT_WORKERS") == "1" or os.cpu_count() == 1
    return name in ("compare", "probe", "nica", "lake") and not (one or elsewhere & set(arguments))


if __name__ == "__main__":
    sys.exit(main())
