"""miniImageNet, in the forms in which it is distributed."""

from fewshot.data.mini_imagenet.dataset import MiniImageNet

__all__ = ["MiniImageNet"]
