"""Episodes per second: this package's sampler against learn2learn's TaskDataset.

Both draw 1-shot episodes with 15 queries a class from the same training classes and deliver the
support and query images as contiguous uint8 tensors ``[E, n_way, n_shot or n_query, C, H, W]``:
ours draws as many episodes at a time as make 81,920 images and gathers 5,120 images at a time, as
evaluation does; learn2learn one episode at a time, its only way. One thread, taking turns, medians
of processor time.

The peer is the installed learn2learn (its data classes are compiled), used as in its examples:
FusedNWaysKShots, LoadData, RemapLabels, ConsecutiveLabels, every task drawn afresh
(num_tasks=-1). Its other costs are left out: images are decoded in one tensor, no transform is
applied to an image, the index of labels is made beforehand. Labels are plain integers, as in its
Omniglot; those of its in-memory dataset, OnDeviceDataset, are tensors, which RemapLabels compares
one by one: the table shows that too.

The last line is the smaller ratio of 5-way and 20-way, with plain integers.
"""

import argparse
import warnings
from collections.abc import Callable
from itertools import count

import torch
from _data import add_dataset_argument, load_bank
from _timing import Contender, print_table, rates
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from fewshot.data import ImageBank
from fewshot.episodes import Episodes, Setting
from fewshot.sampler import EpisodeSampler
from guided.malloc import reuse_memory

DRAWN = 81_920  # images in one of our draws: 1,024 episodes of 5 ways, 256 of 20
GATHERED = 5_120  # of which so many are gathered at a time
DRAWS, PEER = 4, 32  # of ours, episodes of theirs, in one run

Draws = tuple[Callable[[], object], Callable[[], Episodes]]
"""Draws one run's episodes; draws them and delivers their images (the last batch is returned)."""


def episodes_in(images: int, setting: Setting) -> int:
    """The number of episodes that have so many images."""
    return images // (setting.n_way * (setting.n_shot + setting.n_query))


def ours(bank: ImageBank, setting: Setting) -> Draws:
    sampler = EpisodeSampler(bank, setting, seed=0)
    size, part = episodes_in(DRAWN, setting), episodes_in(GATHERED, setting)
    starts = count(step=size)  # shared by all runs: no episode is drawn twice

    def draw() -> Episodes:
        start = next(starts)
        return sampler.batch(start, start + size)

    def sample() -> None:
        for _ in range(DRAWS):
            draw()

    def deliver() -> Episodes:
        for _ in range(DRAWS):
            for some in draw().split(part):
                episodes = some.gather(bank.images)
        return episodes

    return sample, deliver


class InMemory(Dataset):
    """Rows of a tensor and their labels: the quickest dataset that learn2learn can be given."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row], self.labels[row]


def peer(
    bank: ImageBank, setting: Setting, dataset: Callable[[Tensor, Tensor], Dataset] = InMemory
) -> Draws:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import learn2learn as l2l
    data = l2l.data.MetaDataset(dataset(bank.images, bank.labels))
    transforms = l2l.data.transforms
    images = setting.n_shot + setting.n_query
    tasks = l2l.data.TaskDataset(
        data,
        [
            transforms.FusedNWaysKShots(data, n=setting.n_way, k=images),
            transforms.LoadData(data),
            transforms.RemapLabels(data),
            transforms.ConsecutiveLabels(data),
        ],
        num_tasks=-1,
    )

    def sample() -> None:
        for _ in range(PEER):
            tasks.sample_task_description()

    def deliver() -> Episodes:
        for _ in range(PEER):
            flat, _ = tasks.sample()
            classes = flat.unflatten(0, (1, setting.n_way, images))
            support, query = classes.split([setting.n_shot, setting.n_query], dim=2)
            episode = Episodes(support.contiguous(), query.contiguous())
        return episode

    return sample, deliver


def check(bank: ImageBank, setting: Setting) -> None:
    """Ours and the peer's deliver proper episodes in the same memory layout.

    Raises:
        RuntimeError: one of them does not.
    """
    # "Images" that hold their row number, four bytes each.
    numbers = torch.arange(len(bank), dtype=torch.int32).view(torch.uint8).view(-1, 1, 1, 4)
    numbered = ImageBank(numbers, bank.labels, bank.class_names)
    for make in (ours, peer):
        episodes = make(numbered, setting)[1]()
        rows = torch.cat([episodes.support, episodes.query], 2).view(torch.int32).flatten(2).long()
        distinct_images = len(episodes.query_labels()) + setting.n_way * setting.n_shot
        labels = bank.labels[rows]
        for episode, classes in zip(rows, labels, strict=True):
            proper = (
                (classes == classes[:, :1]).all()
                and len(classes.unique()) == setting.n_way
                and len(episode.unique()) == distinct_images
            )
            if not proper:
                raise RuntimeError(f"{make.__name__}: not an episode of {setting}: {episode}")
        for images, n in ((episodes.support, setting.n_shot), (episodes.query, setting.n_query)):
            layout = (images.dtype, images.is_contiguous(), *images.shape[1:3])
            if layout != (torch.uint8, True, setting.n_way, n):
                raise RuntimeError(f"{make.__name__}: delivers {layout}")


def compare(bank: ImageBank, setting: Setting, repeats: int) -> dict[str, float]:
    our_sample, our_deliver = ours(bank, setting)
    peer_sample, peer_deliver = peer(bank, setting)
    # What OnDeviceDataset is once it has read its source.
    _, peer_deliver_tensors = peer(bank, setting, TensorDataset)
    return rates(
        [
            Contender("ours", DRAWS * episodes_in(DRAWN, setting), our_deliver),
            Contender("peer", PEER, peer_deliver),
            Contender("ours, rows", DRAWS * episodes_in(DRAWN, setting), our_sample),
            Contender("peer, rows", PEER, peer_sample),
            Contender("peer, OnDeviceDataset", PEER, peer_deliver_tensors),
        ],
        repeats,
        processor_time=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Episodes a second, against learn2learn's.")
    add_dataset_argument(parser, fallback="random")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reuse_memory()  # as the command does; the peer has it too
    bank = load_bank(arguments.dataset, "train")
    rows, ratios = [], []
    for n_way in (5, 20):
        setting = Setting(n_way=n_way, n_shot=1, n_query=15)
        check(bank, setting)
        rate = compare(bank, setting, arguments.repeats)
        for what, our, their in (
            ("images", "ours", "peer"),
            ("images, OnDeviceDataset", "ours", "peer, OnDeviceDataset"),
            ("row numbers only", "ours, rows", "peer, rows"),
        ):
            ratio = rate[our] / rate[their]
            rows.append((f"{n_way}-way 1-shot, {what}", rate[our], rate[their], ratio))
        ratios.append(rate["ours"] / rate["peer"])
    print_table(("episodes a second", "ours", "learn2learn", "ratio"), rows)
    print(f"ratio {min(ratios):.1f}")


if __name__ == "__main__":
    main()
