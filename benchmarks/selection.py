"""Seconds of each part of `fewshot select`, among encoders that were trained for a moment.

    uv run benchmarks/selection.py

12 encoders like those of ``configs/disentanglement/predict.yaml``, on Glyphs: four strengths of
β-VAE, three seeds. First the seconds of the cells of each kind, which the workers share out, one
thread each; then those of both commands, from start to report.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter

import yaml
from _timing import print_table

from fewshot.data import data_root
from fewshot.data.glyphs.dataset import Glyphs

CONFIG = Path(__file__).parent.parent / "configs" / "disentanglement" / "predict.yaml"


def fewshot(*arguments: str) -> float:
    """Seconds of a command, whose messages are not shown unless it fails.

    Raises:
        CalledProcessError: it failed.
    """
    start = perf_counter()
    command = [sys.executable, "-m", "fewshot.cli", *arguments, "--device", "cpu"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def parts(cells: Path) -> dict[str, float]:
    """Seconds of the cells of each kind."""
    seconds: dict[str, float] = defaultdict(float)
    for file in cells.glob("*/cell.json"):
        content = json.loads(file.read_text())
        seconds[content["depends"]["cell"]] += content["seconds"]
    return dict(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds of fewshot select.")
    parser.add_argument("--steps", type=int, default=100, help="of each pretraining")
    parser.add_argument("--arms", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    Glyphs(data_root()).splits()
    betas = [2**i for i in range(arguments.arms)]
    arms = {
        f"beta_{beta}": {
            "guidance": [
                {"class_path": "Capacity", "init_args": {"weight": beta - 1, "nats": 0}},
            ]
        }
        for beta in betas
    }
    workers = ["--workers", str(arguments.workers)]
    with tempfile.TemporaryDirectory() as folder:
        base = yaml.safe_load(CONFIG.read_text())
        base |= {"arms": arms, "baseline": None, "seeds": list(range(arguments.seeds))}
        base["pretrain"] |= {"steps": arguments.steps, "validate_every": arguments.steps}
        base |= {"episodes": 100, "selection_episodes": 50}
        file, run = Path(folder) / "study.yaml", Path(folder) / "run"
        file.write_text(json.dumps(base))
        trained = fewshot("compare", str(file), "--output", str(run), *workers)
        whole = fewshot("select", str(run), *workers)
        seconds = parts(run / "select" / "cells")
    n = arguments.arms * arguments.seeds
    lines = [(kind, each, each / n) for kind, each in seconds.items()]
    lines += [("all, with start and report", whole, whole / n), ("the study", trained, trained / n)]
    print_table((f"{n} encoders, {arguments.workers} workers", "s", "each"), lines)


if __name__ == "__main__":
    main()
