"""miniImageNet: a hundred classes of natural images."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset, Listing, SplitName, Splits
from fewshot.data.folder import SPLITS, warn_of_shared_images
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.download import RemoteFile, fetch_file, fetching
from fewshot.data.mini_imagenet.sources import FOLDERS, PICKLES, Pickles, Source, find_source
from fewshot.data.mini_imagenet.splits import SPLIT_OF, TEST, TRAIN, VALIDATION
from guided.errors import InputError

COMMAND = "fewshot data --download mini_imagenet"
RECORD = "https://zenodo.org/records/7978538"
DROPBOX = "https://www.dropbox.com/s"

# learn2learn's files: 600 images a class, resized from ILSVRC-2012.
FILES = tuple(
    RemoteFile(name, (f"{RECORD}/files/{name}", f"{DROPBOX}/{key}/{name}?dl=1"), size, md5)
    for name, key, size, md5 in zip(
        PICKLES,
        ("9g8c6w345s2ek03", "ip1b7se3gij3r1b", "ye9jeb5tyz0x01b"),
        (1_145_461_190, 292_661_258, 353_647_539),
        (
            "ee4e80dc7b716f3ceec891d199b5277a",
            "c1145a80890b88d54a67d6e0022d53a5",
            "389b6c59d348b2e1ae9610f00a5e6724",
        ),
        strict=True,
    )
)


class MiniImageNet(Dataset):
    """Natural images in colour, 84×84; a class is a WordNet synset.

    Source: Vinyals et al. (2016), arXiv:1606.04080: 100 classes of ILSVRC-2012, 600 images each;
    the split, 64/16/20 classes, is Ravi and Larochelle's (2017). Read from the first folder of
    ``root/mini-imagenet``, ``root/mini_imagenet``, ``root/miniImagenet`` and
    ``root/miniimagenet`` that has one of these, looked for in this order:

    1. class folders in ``train/``, ``val/`` and ``test/``, or zip archives of them, read as one;
    2. Ravi and Larochelle's ``train.csv``, ``val.csv`` and ``test.csv``, with the images in
       ``images/`` or ``images.zip``;
    3. learn2learn's ``mini-imagenet-cache-{train,validation,test}.pkl``, last of all in ``root``
       itself, too.

    All hundred classes must be there, with as many images as there are: a number obtained from
    fewer than 600 a class needs saying so, and ``fewshot data`` tells how many they are.

    Differs from others' preparation of ILSVRC-2012's own images, which squeezes them to a square:
    images of another size are cut to their middle square and resized with Lanczos's filter.

    Args:
        root: the folder that holds the datasets.
        size: images' height and width in pixels.
        download: fetch learn2learn's pickles when nothing is found.

    Raises:
        InputError: a value out of range; on reading, a class that is missing, unknown or in
            another split than Ravi and Larochelle's, or a file that is something else.

    Warns:
        SharedImagesWarning: byte-identical images are in two splits; counts them, names a pair.
    """

    name: ClassVar[str] = "mini_imagenet"

    def __init__(self, root: Path, *, size: int = 84, download: bool = False) -> None:
        super().__init__(root)
        if size < 1:
            raise InputError(f"MiniImageNet.size: expected at least 1 pixel, got {size}")
        self.size = size
        self.fetch_missing = download

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": len(TRAIN), "validation": len(VALIDATION), "test": len(TEST)}

    def splits(self) -> Splits:
        source = self._source()
        settings = {"files": source.state(), "size": self.size}
        bank = cached_bank(self.name, settings, lambda: source.build(self.size))
        splits = [SPLIT_OF[name] for name in bank.class_names]
        warn_of_shared_images(
            source.where,
            bank.attributes["digest"],
            [splits[label] for label in bank.labels.tolist()],
            lambda row: source.name_of(bank, row),
        )
        bank = ImageBank(bank.images, bank.labels, bank.class_names)
        train, validation, test = (
            bank.classes([i for i, other in enumerate(splits) if other == split])
            for split in SPLITS
        )
        return Splits(train, validation, test)

    def _source(self) -> Source:
        source = find_source(self.root)
        if self.fetch_missing and (source is None or _missing(source)):
            self.download()
            source = find_source(self.root)
        if source is None:
            raise InputError(
                f"{self.root / FOLDERS[0]}: not found, nor another folder of miniImageNet; "
                f"get it with: {COMMAND}, or set FEWSHOT_DATA"
            )
        return source

    def listing(self) -> Listing:
        where = str(self.root / FOLDERS[0])
        try:
            source = find_source(self.root)
            sizes = source.class_sizes() if source else {}
        except InputError as error:
            source, where = None, str(error)
        if source is None:
            return Listing(self.name, False, where, None, None, COMMAND)
        fewest, most = min(sizes.values()), max(sizes.values())
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        where = f"{source.where}: {each} images a class"
        return Listing(self.name, True, where, len(sizes), sum(sizes.values()), COMMAND)

    def download(self) -> None:
        """Fetch learn2learn's pickles (1.8 GB), unless miniImageNet is there.

        Raises:
            InputError: they cannot be fetched; says what to do by hand.
        """
        source = find_source(self.root)
        folder = source.where if source else self.root / FOLDERS[0]
        by_hand = f"put {', '.join(PICKLES)} of {RECORD} into {folder}"
        with fetching(self.name, by_hand):
            for file in FILES:
                if source is None or folder / file.name in _missing(source):
                    fetch_file(file, folder)


def _missing(source: Source) -> list[Path]:
    """What can be downloaded."""
    return source.missing() if isinstance(source, Pickles) else []
