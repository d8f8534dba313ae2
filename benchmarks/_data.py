"""Images to measure with: Omniglot where it is, something of the same shape where it is not."""

import argparse

import torch

from fewshot.data import ImageBank, Splits, data_root
from fewshot.data.dataset import SplitName
from fewshot.data.glyphs.dataset import Glyphs
from fewshot.data.mini_imagenet.dataset import MiniImageNet
from fewshot.data.omniglot.dataset import Omniglot

DATASETS = ("omniglot", "mini_imagenet", "glyphs", "random")
CLASSES = {"train": 1100, "validation": 100, "test": 423}  # Omniglot's


def add_dataset_argument(parser: argparse.ArgumentParser, fallback: str) -> None:
    """``--dataset``: Omniglot's 1100/100/423 split if it is found, else ``fallback``."""
    found = Omniglot(data_root()).listing().found
    parser.add_argument("--dataset", choices=DATASETS, default="omniglot" if found else fallback)


def load_bank(name: str, split: SplitName) -> ImageBank:
    """One split of a dataset; prints what it is."""
    bank = _noise(CLASSES[split]) if name == "random" else getattr(_splits(name), split)
    shape = " x ".join(map(str, bank.image_shape))
    print(f"images: {name}, {split}: {bank.n_classes} classes, {len(bank)} images of {shape}")
    return bank


def _splits(name: str) -> Splits:
    root = data_root()
    if name == "mini_imagenet":
        return MiniImageNet(root).splits()
    return (Omniglot(root, split="random") if name == "omniglot" else Glyphs(root)).splits()


def _noise(n_classes: int, n_images: int = 20) -> ImageBank:
    shape = (n_classes * n_images, 1, 28, 28)
    images = torch.randint(256, shape, generator=torch.Generator().manual_seed(0))
    names = tuple(f"noise {i}" for i in range(n_classes))
    return ImageBank(
        images.to(torch.uint8), torch.arange(n_classes).repeat_interleave(n_images), names
    )
