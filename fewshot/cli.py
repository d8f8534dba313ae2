"""The command line: choose a command, parse, run, turn errors into one line.

Nothing heavy is imported to print the list of commands: torch alone takes seconds.
"""

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "data": "list the datasets: found or not, where, classes, images, how to get them",
    "pretrain": "train a VAE, guided or not; writes an encoder checkpoint",
    "train": "meta-train a learner on episodes, from any encoder",
    "evaluate": "errors of learners on test episodes, for any encoder checkpoint",
    "compare": "the study: guided against unguided encoders, paired, over several seeds",
    "probe": "what latents are worth: a linear classifier's error, quality of samples",
    "lake": "Lake's one-shot classification task, with a study's encoders and learners",
}

USAGE = """usage: fewshot COMMAND [CONFIG.yaml] [--key value ...]

Does guiding a VAE's latents lower the error of few-shot learners fed with its encoder?

commands:
{commands}

Any key of the YAML file can be overridden: --pretrain.steps 500. `fewshot COMMAND --help` lists
the keys. Data are found under --data-root, else $FEWSHOT_DATA, else ./data; what runs write goes
below --output. Inspect a run with `tensorboard --logdir runs`.

First run, offline, about a minute:  fewshot compare configs/quickstart.yaml
"""


def usage() -> str:
    """The text of ``fewshot --help``."""
    lines = [f"  {name:<10}{purpose}" for name, purpose in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))


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
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"fewshot: {name!r} is not a command; expected one of {known}", file=sys.stderr)
        return 2
    return _run(name, rest)


def _run(name: str, arguments: Sequence[str]) -> int:
    try:
        # Imported inside: Ctrl-C while torch loads is an ordinary Ctrl-C too.
        from guided.errors import InputError
        from guided.malloc import reuse_memory

        reuse_memory()
        try:
            command = importlib.import_module(f"fewshot.commands.{name}")
            command.main(arguments)
        except InputError as error:
            print(f"fewshot {name}: {error}", file=sys.stderr)
            return 2
    except KeyboardInterrupt:
        print(f"fewshot {name}: interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
