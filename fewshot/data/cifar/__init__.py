"""CIFAR-100, divided for few-shot learning in two ways."""

from fewshot.data.cifar.dataset import CIFAR_FS, FC100

__all__ = ["CIFAR_FS", "FC100"]
