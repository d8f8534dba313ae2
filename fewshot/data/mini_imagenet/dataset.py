"""``MiniImageNet``: a hundred classes of natural images."""

from collections.abc import Mapping
from typing import ClassVar

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import SPLITS, Dataset, Listing, SplitName, Splits
from fewshot.data.folder import warn_of_shared_images
from fewshot.data.io.cache import cached_bank
from fewshot.data.io.download import RemoteFile, download_files
from fewshot.data.mini_imagenet.sources import FOLDERS, PICKLES, Pickles, Source, find_source
from fewshot.data.mini_imagenet.splits import SPLIT_OF, TEST, TRAIN, VALIDATION
from fewshot.data.roots import Roots
from guided.errors import InputError
from guided.ranges import Count

RECORD = "https://zenodo.org/records/7978538"
DROPBOX = "https://www.dropbox.com/s"

# learn2learn's files: 600 images in each class, resized from ILSVRC-2012.
FILES = tuple(
    RemoteFile(name, (f"{RECORD}/files/{name}", f"{DROPBOX}/{key}/{name}?dl=1"), md5)
    for name, key, md5 in zip(
        PICKLES,
        ("9g8c6w345s2ek03", "ip1b7se3gij3r1b", "ye9jeb5tyz0x01b"),
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

    Source: Vinyals et al. (2016), arXiv:1606.04080: 100 classes of ILSVRC-2012 with 600 images
    each; the split into 64/16/20 classes is Ravi and Larochelle's (2017). Read from the first of
    the folders ``root/mini-imagenet``, ``root/mini_imagenet``, ``root/miniImagenet`` and
    ``root/miniimagenet`` that holds one of the following, in this order:

    1. class folders in ``train/``, ``val/`` and ``test/``, or zip archives of them, read as one;
    2. Ravi and Larochelle's ``train.csv``, ``val.csv`` and ``test.csv``, with the images in
       ``images/`` or ``images.zip``;
    3. learn2learn's ``mini-imagenet-cache-{train,validation,test}.pkl``, which may also be in
       ``root`` itself.

    All hundred classes must be there, each with any number of images. State the number with a
    result if it is below 600; ``fewshot data`` prints it.

    Differs from the usual preparation of ILSVRC-2012's own images, which squeezes them to a
    square: images of another size are cut to their central square, then resized with a Lanczos
    filter.

    Args:
        root: the folder or folders that hold the datasets.
        size: height and width of the images in pixels.
        download: download learn2learn's pickles if nothing is found.

    Raises:
        InputError: ``size`` is out of range; on reading, a class is missing, unknown or in a
            split other than Ravi and Larochelle's, or a file is unusable.

    Warns:
        SharedImagesWarning: images with the same pixels are in two splits; counts them, names a
            pair.
    """

    name: ClassVar[str] = "mini_imagenet"

    def __init__(
        self, root: Roots | None = None, *, size: Count = 84, download: bool = False
    ) -> None:
        super().__init__(root)
        self.size = size
        self.fetch_missing = download

    def class_counts(self) -> Mapping[SplitName, int]:
        return {"train": len(TRAIN), "validation": len(VALIDATION), "test": len(TEST)}

    def splits(self) -> Splits:
        source = self._source()
        settings = {"files": source.state(), "size": self.size, "digest": "pixels"}
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
        if self.fetch_missing:
            self.download()
        source = self.first_found(find_source)
        if source is None:
            raise self.not_found(FOLDERS)
        return source

    def listing(self) -> Listing:
        try:
            source = self.first_found(find_source)
            if source is None:
                return self.absent(self.root / FOLDERS[0])
            sizes = source.class_sizes()
        except InputError as error:
            return self.absent(error)
        fewest, most = min(sizes.values()), max(sizes.values())
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        return self.present(
            f"{source.where}: {each} images a class", len(sizes), sum(sizes.values())
        )

    def download(self) -> None:
        """Download learn2learn's pickles (1.8 GB), unless a root has miniImageNet.

        If a root has some of the pickles, the others are downloaded beside them.

        Raises:
            InputError: the download failed; says which files to get by hand.
        """
        source = self.first_found(find_source)
        if source is None:
            download_files(self.name, FILES, self.root / FOLDERS[0], RECORD)
        elif isinstance(source, Pickles):
            missing = [path.name for path in source.missing()]
            files = [file for file in FILES if file.name in missing]
            download_files(self.name, files, source.where, RECORD)
