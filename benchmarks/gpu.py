"""The training loops on one GPU, each against its peer, in one process tree.

Runs, one after the other, the scripts beside this one on a GPU: pretraining at 28×28 and 84×84
(``pretrain.py``: images a second, share of the rate of a large float32 matrix product, in float32
and in bfloat16), MAML (``maml.py``: seconds of a meta-iteration, both engines and
learn2learn's loop) and prototypical networks (``protonet.py``: episodes a second). Their last
lines are the ratios; they are repeated at the end.

``--device cpu --steps 2 --repeats 1 --width 8`` tries the script where there is no GPU.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
NATURAL = ["--dataset", "mini_imagenet", "--downsample", "pool"]
RUNS: dict[str, tuple[str, list[str]]] = {
    "pretraining, 28 x 28": ("pretrain.py", []),
    "pretraining, 28 x 28, bfloat16": ("pretrain.py", ["--precision", "bfloat16"]),
    "pretraining, 84 x 84": ("pretrain.py", NATURAL),
    "pretraining, 84 x 84, bfloat16": ("pretrain.py", [*NATURAL, "--precision", "bfloat16"]),
    "MAML": ("maml.py", []),
    "prototypical networks": ("protonet.py", []),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="All training loops on one GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200, help="timed, of one run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=list(RUNS), nargs="+", default=list(RUNS))
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: torch finds no GPU; --device cpu tries the script without one")
    if arguments.device == "cuda":
        print(torch.cuda.get_device_name())
    endings = {name: run(name, arguments) for name in arguments.only}
    print("\n" + "\n".join(f"{name}: {ending}" for name, ending in endings.items()))


def run(name: str, arguments: argparse.Namespace) -> str:
    """One script's output, as it comes; returns its last line, or that it failed."""
    script, options = RUNS[name]
    options = [*options, "--width", str(arguments.width), "--device", arguments.device]
    options += ["--repeats", str(arguments.repeats)]
    if script != "maml.py":
        options += ["--steps", str(arguments.steps)]
    print(f"\n{name}: {script} {' '.join(options)}", flush=True)
    command = [sys.executable, str(HERE / script), *options]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip()
    return last if process.returncode == 0 else f"failed with status {process.returncode}"


if __name__ == "__main__":
    main()
