"""The validation and test classes of CIFAR-FS and of FC100, by name."""

from fewshot.data.dataset import SplitName

# CIFAR-FS: Bertinetto, Henriques, Torr & Vedaldi (2019), arXiv:1805.08136, §4.1; train is the rest.
_CIFAR_FS_VALIDATION = """
    beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter
    sea shark television tractor
"""
_CIFAR_FS_TEST = """
    baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail
    sweet_pepper table telephone wardrobe whale woman worm
"""
CIFAR_FS_HELD_OUT: dict[str, SplitName] = {
    **dict.fromkeys(_CIFAR_FS_VALIDATION.split(), "validation"),
    **dict.fromkeys(_CIFAR_FS_TEST.split(), "test"),
}

# FC100: Oreshkin, Rodríguez López & Lacoste (2018), arXiv:1805.10123, supplement; by superclass.
FC100_HELD_OUT: dict[str, SplitName] = {
    "large_carnivores": "validation",
    "large_omnivores_and_herbivores": "validation",
    "non-insect_invertebrates": "validation",
    "small_mammals": "validation",
    "aquatic_mammals": "test",
    "insects": "test",
    "medium_mammals": "test",
    "people": "test",
}
