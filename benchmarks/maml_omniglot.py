"""learn2learn's own MAML example on Omniglot, beside a finished study of ours.

    uv run fewshot compare configs/omniglot/maml.yaml
    uv run benchmarks/maml_omniglot.py runs/omniglot_maml

Trains what learn2learn's examples/vision/maml_omniglot.py trains (``OmniglotFC``, its loop, its
task pipeline, the study's seeds, iterations and learning rates) on the study's training characters
and tests it on the study's test episodes. Prints both errors and the paired difference with its
interval, and writes them with the study's rows to maml_omniglot.json in the study's folder, with
the counts of wrong queries of both in maml_omniglot.npz (learn2learn's as the arm ``peer``).

Differs from the example: rotations are further classes, as in the study, where it turns each
class at random; images come from memory.
"""

import argparse
import random
import warnings
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import trange

from fewshot.commands.compare import CompareConfig
from fewshot.config import parse, settings_of
from fewshot.data import Splits, data_root
from fewshot.environment import hardware, versions
from fewshot.interop import task_dataset
from fewshot.meta_train import TrainConfig
from fewshot.sampler import EpisodeSampler
from fewshot.statistics import Crossed, paired_difference
from fewshot.study import StudyResult
from guided.seeds import derive_seed
from guided.storage.files import write_json

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import learn2learn as l2l

N_TASKS = 20_000  # of the example


def adapted_loss(maml: nn.Module, images: Tensor, labels: Tensor, ways: int) -> Tensor:
    """The example's ``fast_adapt`` at one shot: every second image adapts, the others judge."""
    learner = maml.clone()
    adapt = torch.zeros(len(images), dtype=torch.bool)
    adapt[torch.arange(ways) * 2] = True
    learner.adapt(F.cross_entropy(learner(images[adapt]), labels[adapt]))
    return F.cross_entropy(learner(images[~adapt]), labels[~adapt])


def train(config: TrainConfig, splits: Splits, fast_lr: float, seed: int) -> nn.Module:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (learn2learn draws its weights from here)
    torch.manual_seed(seed)
    ways = config.setting.n_way
    model = l2l.vision.models.OmniglotFC(splits.train.images[0].numel(), ways)
    maml = l2l.algorithms.MAML(model, lr=fast_lr, first_order=False)
    optimizer = torch.optim.Adam(maml.parameters(), config.learning_rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks = task_dataset(splits.train, config.setting, N_TASKS)
    for _ in trange(config.steps, desc=f"learn2learn, seed {seed}", disable=None, leave=False):
        optimizer.zero_grad()
        for _ in range(config.episodes_per_step):
            adapted_loss(maml, *tasks.sample(), ways).backward()
        for parameter in maml.parameters():
            parameter.grad.data.mul_(1.0 / config.episodes_per_step)
        optimizer.step()
    return maml


def test(maml: nn.Module, sampler: EpisodeSampler, images: Tensor, n: int) -> NDArray[np.uint8]:
    """Number of wrong queries of each episode."""
    wrong = []
    for i in range(n):
        episode = sampler[i].gather(images)
        learner = maml.clone()
        support = episode.support[0].flatten(0, 1).float() / 255
        learner.adapt(F.cross_entropy(learner(support), episode.support_labels()))
        with torch.no_grad():
            guess = learner(episode.query[0].flatten(0, 1).float() / 255).argmax(1)
        wrong.append(int((guess != episode.query_labels()).sum()))
    return np.array(wrong, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="learn2learn's MAML example beside our study.")
    parser.add_argument("run", type=Path, help="folder of a finished configs/omniglot/maml.yaml")
    folder: Path = parser.parse_args().run
    config = parse(CompareConfig, [str(folder / "config.yaml")], "maml_omniglot")
    splits = config.dataset(data_root(None)).splits()
    (learner,), (setting,) = config.learners.values(), config.settings
    assert learner.train is not None
    fast_lr = settings_of(learner.learner)["learning_rate"]
    seed = derive_seed(config.episode_seed, "test", setting.label)
    sampler = EpisodeSampler(splits.test, setting, seed)
    theirs, start = [], perf_counter()
    for seed in config.seeds:
        maml = train(learner.train, splits, fast_lr, seed)
        theirs.append(test(maml, sampler, splits.test.images, config.episodes))
        print(f"learn2learn, seed {seed}: {theirs[-1].mean():.2f} wrong queries an episode")
    seconds = perf_counter() - start
    study, counts = StudyResult.load(folder), StudyResult.load_counts(folder)
    (row,) = study.rows
    key = ("peer", *row.key[1:])
    counts = replace(counts, wrong={**counts.wrong, key: np.stack(theirs)})
    queries = row.n_way * row.n_query
    ours, peer = (100 * counts.wrong[k].astype(float) / queries for k in (row.key, key))
    paired = paired_difference(ours, peer).crossed
    results = {
        **study.to_json(),
        "peer": {
            "name": "learn2learn examples/vision/maml_omniglot.py",
            "error": float(peer.mean()),
            "error_ci95": Crossed.of(peer).interval,
            "seconds": seconds,
        },
        "paired_with_peer": {"difference": paired.mean, "ci95": paired.interval},
        "versions": versions(),
        "hardware": hardware("cpu"),
    }
    write_json(folder / "maml_omniglot.json", results)
    counts.save(folder / "maml_omniglot.npz")
    low, high = paired.interval
    print(f"learn2learn: error {peer.mean():.2f} %, {seconds:.0f} s")
    print(f"ours: error {ours.mean():.2f} %, {study.seconds:.0f} s")
    print(f"difference {paired.mean:+.2f} points, 95 % {low:+.2f} … {high:+.2f}")


if __name__ == "__main__":
    main()
