"""Digits told and drawn by dictionaries that share one sparse code of images and labels.

    uv run benchmarks/sparse_mnist.py

Dictionaries of MNIST's images and labels are learned with labels; a test image's code is inferred
without one, and its class is what the dictionary of labels says of it (ŷ = W a, the largest). The
rivals are a network with as many hidden units and almost as many parameters, and logistic
regression of pixels, both trained by cross-entropy. All see the same 55,000 images; settings were
chosen on the 5,000 validation images, see CHOSEN.

The picture shows each class drawn from its label alone (y, then its code, then an image), and below
it the atoms that say most of the class.
"""

import argparse
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from _timing import print_table
from torch import Tensor

from fewshot.data import MNIST, ImageBank
from fewshot.environment import hardware, versions
from fewshot.statistics import Crossed
from guided.backbones import Dense, Pixels
from guided.backbones.sparse_code import standardised
from guided.figures.grids import labelled_rows
from guided.sparse_coding import LinkedDictionaries
from guided.storage.files import write_figure, write_json
from guided.training import ClassifierConfig, LabelledImages, train_classifier
from guided.training.encoders.base import TrainingContext
from guided.training.encoders.sparse_coding import IMAGE, SparseCoding

CHOSEN = {"sparsity": 0.1, "sparsity_start": 0.03, "weight": 0.3}
"""By accuracy on 2,000 validation digits, of 512 atoms that two passes over 8,000 images taught:
sparsity 0.05, 0.1, 0.2; its start 0.03 or no other; weight of the label 0.05, 0.3, 1."""
DRAWN = 5


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    splits, start = MNIST().splits(), perf_counter()
    train = LabelledImages(splits.train.images, {"class": splits.train.labels})
    wrong: dict[str, dict[str, list[Tensor]]] = {"validation": {}, "test": {}}
    seconds: dict[str, list[float]] = {}
    for seed in arguments.seeds:
        models = {
            "linked dictionaries": partial(fit_dictionaries, train, arguments, seed),
            f"{arguments.atoms} hidden units": partial(
                fit_network, train, partial(Dense, widths=(arguments.atoms,)), seed
            ),
            "logistic regression": partial(fit_network, train, partial(Pixels), seed),
        }
        for name, fit in models.items():
            begun = process_time()
            answers = fit()
            seconds.setdefault(name, []).append(process_time() - begun)
            for split in wrong:
                bank: ImageBank = getattr(splits, split)
                found = answers(bank.images) != bank.labels
                wrong[split].setdefault(name, []).append(found)
                print(f"{name}, seed {seed}: {split} error {100 * found.float().mean():.2f} %")
    classifiers = [
        {
            "classifier": name,
            **{split: summary(rows[name]) for split, rows in wrong.items()},
            "processor seconds to train": round(float(np.mean(seconds[name])), 1),
        }
        for name in seconds
    ]
    print_table(
        ("classifier", "test error", "95 %", "test images"),
        [
            (c["classifier"], c["test"]["error"], str(c["test"]["ci95"]), c["test"]["images"])
            for c in classifiers
        ],
    )
    write_json(
        Path(arguments.output),
        {
            "classifiers": classifiers,
            "seeds": arguments.seeds,
            "training images": len(train.images),
            "versions": versions(),
            "hardware": hardware("cpu"),
            "seconds": perf_counter() - start,
            "config": vars(arguments),
        },
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Digits by linked dictionaries, beside rivals.")
    parser.add_argument("--atoms", type=int, default=512)
    parser.add_argument("--passes", type=int, default=1, help="over the training images")
    parser.add_argument("--sparsity", type=float, default=CHOSEN["sparsity"])
    parser.add_argument("--sparsity-start", type=float, default=CHOSEN["sparsity_start"])
    parser.add_argument("--weight", type=float, default=CHOSEN["weight"], help="of the label")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", default="runs/published/sparse_mnist.json")
    return parser.parse_args()


def summary(wrong: list[Tensor]) -> dict[str, Any]:
    """Mean error in percent, and its interval over seeds and images together."""
    crossed = Crossed.of(100 * torch.stack(wrong).numpy())
    return {
        "error": round(crossed.mean, 2),
        "ci95": [round(bound, 2) for bound in crossed.interval],
        "by seed": [round(100 * float(row.float().mean()), 2) for row in wrong],
        "images": len(wrong[0]),
    }


def fit_dictionaries(train: LabelledImages, arguments: argparse.Namespace, seed: int) -> Any:
    """Linked dictionaries; from images ``[N, 1, 28, 28]`` to digits ``[N]``."""
    training = SparseCoding(
        atoms=arguments.atoms,
        sparsity=arguments.sparsity,
        sparsity_start=arguments.sparsity_start,
        passes=arguments.passes,
        link={"class": arguments.weight},
    )
    context = TrainingContext(seed=seed, description=f"dictionaries, seed {seed}")
    dictionaries = training.fit(train, context)
    dictionaries.options = {"steps": 200, "tolerance": 1e-3}
    if seed == arguments.seeds[0]:
        write_figure(Path(arguments.output).with_suffix(".png"), picture(dictionaries))

    def answers(images: Tensor) -> Tensor:
        batches = standardised(images.float() / 255).split(1000)
        codes = (dictionaries.code({IMAGE: batch}) for batch in batches)
        return torch.cat([dictionaries.predict(code, "class").argmax(1) for code in codes])

    return answers


def fit_network(train: LabelledImages, backbone: Any, seed: int) -> Any:
    """A supervised network; from images to digits."""
    classifier = train_classifier(ClassifierConfig(backbone=backbone, seed=seed), train)

    @torch.no_grad()
    def answers(images: Tensor) -> Tensor:
        return torch.cat([classifier(batch).argmax(1) for batch in images.split(1000)])

    return answers


def picture(dictionaries: LinkedDictionaries) -> Any:
    """Each class drawn from its label, above the atoms whose share in its label is largest."""
    drawn = dictionaries.predict(dictionaries.code({"class": torch.eye(10)}), IMAGE)
    atoms = dictionaries.atoms[:, dictionaries.places[IMAGE]]
    share = dictionaries.atoms[:, dictionaries.places["class"]] * dictionaries.used[:, None]
    best = share.topk(DRAWN, 0).indices
    rows = torch.cat([drawn[None], atoms[best]])
    # Grey is 0, each image in its own range.
    rows = 0.5 + 0.5 * rows / rows.abs().amax(2, keepdim=True).clamp_min(1e-12)
    labels = ["from its label", *[f"atom {i + 1}" for i in range(DRAWN)]]
    return labelled_rows(rows.unflatten(2, (1, 28, 28)), labels, [str(i) for i in range(10)])


if __name__ == "__main__":
    main()
