from .bank import ImageBank
from .causal.flow import Flow
from .causal.pendulum import Pendulum
from .celeba import CelebA
from .cifar.dataset import CIFAR_FS, FC100
from .dataset import Dataset, DatasetFactory, ImagesWarning, Listing, SplitName, Splits
from .embeddings.bank import EmbeddingBank
from .embeddings.dataset import Embeddings
from .folder import ImageFolder, SharedImagesWarning
from .glyphs.dataset import Glyphs
from .labels import labelled, labelled_classes
from .mini_imagenet.dataset import MiniImageNet
from .mnist import MNIST
from .omniglot.dataset import Omniglot
from .roots import Roots, data_root
from .sprites.dataset import Sprites
from .sprites.dsprites import DSprites

__all__ = [
    "CIFAR_FS",
    "FC100",
    "MNIST",
    "CelebA",
    "DSprites",
    "Dataset",
    "DatasetFactory",
    "EmbeddingBank",
    "Embeddings",
    "Flow",
    "Glyphs",
    "ImageBank",
    "ImageFolder",
    "ImagesWarning",
    "Listing",
    "MiniImageNet",
    "Omniglot",
    "Pendulum",
    "Roots",
    "SharedImagesWarning",
    "SplitName",
    "Splits",
    "Sprites",
    "data_root",
    "labelled",
    "labelled_classes",
]
