"""CIFAR-FS and FC100, two divisions of CIFAR-100."""

from fewshot.data.cifar.dataset import CIFAR_FS, FC100

__all__ = ["CIFAR_FS", "FC100"]
