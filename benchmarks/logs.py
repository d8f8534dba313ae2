"""The cost of TensorBoard's logs in a pretraining: our loop with and without them.

Both train the same network on the same images with the default intervals: scalars every 50 steps;
validation, with pictures of the state, every ``--validate-every``; figures once at the end. They
take turns. The last line is the ratio of their times, which should be at most 1.05.

On a CPU, seconds are those of the processor, the thread that writes the events included: the
clock's vary by more than 5 % on a machine that does other things. Not counted: what the first
training of a process pays for imports, about a second. ``--guided`` has the guidance with the most
pictures. Fewer steps than the default make the share of the figures at the end larger.

``--steps 60 --validate-every 20 --repeats 1 --width 8 --dataset random`` tries the script.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _data import add_dataset_argument, load_bank
from _timing import Contender, rates

from fewshot.data.labels import labelled
from guided import Conv4, DeformablePCA, pretrain
from guided.training.config import PretrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretraining with and without logs.")
    add_dataset_argument(parser, "random")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=PretrainConfig.steps)
    parser.add_argument("--validate-every", type=int, default=PretrainConfig.validate_every)
    parser.add_argument("--guided", action="store_true", help="with DeformablePCA")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = PretrainConfig(
        backbone=partial(Conv4, width=arguments.width),
        steps=arguments.steps,
        validate_every=arguments.validate_every,
        guidance=[DeformablePCA()] if arguments.guided else [],
    )
    train = labelled(load_bank(arguments.dataset, "train"))
    validation = load_bank(arguments.dataset, "validation")
    with TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {
            name: partial(
                pretrain, train, validation, config, device=arguments.device, log_folder=log
            )
            for name, log in (("without logs", None), ("with logs", Path(folder)))
        }
        found = rates(
            [Contender(name, arguments.steps, run) for name, run in runs.items()],
            arguments.repeats,
            processor_time=arguments.device == "cpu",
        )
    for name, rate in found.items():
        print(f"{name}: {rate:.1f} steps a second")
    print(f"time with logs / without: {found['without logs'] / found['with logs']:.3f}")


if __name__ == "__main__":
    main()
