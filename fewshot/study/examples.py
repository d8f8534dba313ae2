"""Examples: test episodes worth looking at, all arms' answers to them, and confused classes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewshot.data.bank import ImageBank
from fewshot.episodes import Episodes
from fewshot.evaluation import table_for
from fewshot.learners.base import Learner
from fewshot.predictions import Evaluation
from fewshot.study.cells import Cell
from fewshot.study.config import StudyConfig
from fewshot.study.examiner import Examiner
from fewshot.study.outcome import Subject
from fewshot.study.rows import Key
from guided.storage.files import read_arrays, write_arrays

HARDEST, APART = 3, 2
"""Episodes shown: the hardest, and those on which guided and unguided arms differ most."""

CONFUSED, PAIRS, PICTURED = 50, 6, 4
"""Episodes whose confusions are counted, pairs of classes shown, images of each class."""

AT_ONCE = 8
SUPPORT, QUERIES = 5, 25
"""Support of a class, and queries of an episode that are stored, at most, if it has no more
classes."""

FILE = "examples.npz"


def plan_examples(
    examiner: Examiner, subjects: Mapping[Key, Subject], tested: Mapping[Key, Cell]
) -> Cell:
    """The cell of the examples: of one seed, and one learner and latents of each arm.

    It holds ``examples.npz``: ``support`` and ``query``, uint8 ``[episodes, n_way, images, C, H,
    W]``, ``predicted``, ``[arms, episodes, n_way, images]``, and ``pictured``, uint8 ``[classes,
    images, C, H, W]``. Its facts name the arms, episodes and classes.

    Args:
        examiner: of the study.
        subjects: one an arm.
        tested: the cells with their numbers of wrong queries.
    """
    needs = {
        f"{part} {key.arm}": cell
        for key, subject in subjects.items()
        for part, cell in ({"wrong": tested[key]} | subject.needs).items()
    }
    depends = {"cell": "examples", "version": 1, "arms": [list(key) for key in subjects]}
    return examiner.cells.plan(
        "examples", depends, lambda cell: _Maker(examiner, subjects, tested).work(cell), needs=needs
    )


@dataclass(frozen=True)
class _Maker:
    examiner: Examiner
    subjects: Mapping[Key, Subject]
    tested: Mapping[Key, Cell]

    def work(self, cell: Cell) -> dict[str, Any]:
        setting = self.examiner.config.settings[0]
        sampler, bank = self.examiner.samplers[setting], self.examiner.splits.test
        chosen = chosen_episodes(self.examiner.config, self._wrong(setting.label))
        counted = sampler.batch(0, min(CONFUSED, self.examiner.config.episodes))
        picked = joined([sampler[number] for number, _ in chosen])
        rows = joined([counted, picked])
        answers = torch.stack([self._answers(subject, rows) for subject in self.subjects.values()])
        assert counted.classes is not None
        evaluations = {
            key.arm: Evaluation(setting, bank.class_names, counted.classes, a[: len(counted)])
            for key, a in zip(self.subjects, answers, strict=True)
        }
        answers = answers[:, len(counted) :]
        arrays, facts = collected(bank, chosen, picked, answers, evaluations)
        write_arrays(cell.folder / FILE, arrays)
        return {"arms": [key._asdict() for key in self.subjects], **facts}

    def _wrong(self, label: str) -> dict[str, NDArray[np.int64]]:
        found = {}
        for key in self.subjects:
            stored = read_arrays(self.tested[key].folder / "wrong.npz")
            found[key.arm] = stored[label].astype(np.int64)
        return found

    def _answers(self, subject: Subject, rows: Episodes) -> Tensor:
        """Predicted positions ``[E, n_way * n_query]``; only the episodes' images are read."""
        device, bank = self.examiner.device, self.examiner.splits.test
        model: Learner = subject.load().to(device)
        needed = torch.cat([rows.support.flatten(), rows.query.flatten()]).unique()
        table = table_for(model, bank.rows(needed), device)
        places = Episodes(
            torch.searchsorted(needed, rows.support),
            torch.searchsorted(needed, rows.query),
            rows.classes,
        )
        with torch.no_grad():
            parts = [
                model.logits(part.to(table.device).gather(table)).max(2).indices.cpu()
                for part in places.split(AT_ONCE)
            ]
        return torch.cat(parts)


def collected(
    bank: ImageBank,
    chosen: Sequence[tuple[int, str]],
    episodes: Episodes,
    answers: Tensor,
    evaluations: Mapping[str, Evaluation],
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
    """Arrays and facts of some episodes, and of the classes that are confused most.

    Args:
        bank: of the episodes.
        chosen: numbers of the episodes, and why they are shown.
        episodes: of row numbers of the bank.
        answers: predicted positions, ``[arms, E, n_way * n_query]``.
        evaluations: of each arm, on the episodes whose confusions are counted.

    Returns:
        what :func:`plan_examples` describes.
    """
    setting = next(iter(evaluations.values())).setting
    n_queries, truth = max(1, QUERIES // setting.n_way), episodes.query_labels()
    pairs = _confused(evaluations)
    named = list(dict.fromkeys(name for p in pairs for name in (p["true"], p["predicted"])))
    assert episodes.classes is not None
    predicted = answers.unflatten(2, (setting.n_way, -1))[..., :n_queries]
    arrays = {
        "support": bank.shown(episodes.support[:, :, :SUPPORT]).numpy(),
        "query": bank.shown(episodes.query[:, :, :n_queries]).numpy(),
        "predicted": predicted.numpy().astype(np.min_scalar_type(setting.n_way)),
        "pictured": _pictures(bank, named),
    }
    facts = {
        "setting": {"n_way": setting.n_way, "n_shot": setting.n_shot},
        "episodes": [
            {
                "number": number,
                "reason": reason,
                "classes": [bank.class_names[c] for c in classes.tolist()],
                "wrong": (episode != truth).sum(1).tolist(),
                "queries": setting.n_way * setting.n_query,
            }
            for (number, reason), classes, episode in zip(
                chosen, episodes.classes, answers.unbind(1), strict=True
            )
        ],
        "counted": len(next(iter(evaluations.values()))),
        "confused": pairs,
        "classes": named,
    }
    return arrays, facts


def _pictures(bank: ImageBank, classes: list[str]) -> NDArray[np.uint8]:
    """The first images of some classes."""
    if not classes:
        return np.zeros((0, PICTURED, 1, 1, 1), np.uint8)
    labels = [bank.class_names.index(name) for name in classes]
    n = min(PICTURED, int(bank.class_sizes[labels].min()))
    rows = [(bank.labels == label).nonzero().squeeze(1)[:n] for label in labels]
    pictures: NDArray[np.uint8] = bank.shown(torch.stack(rows)).numpy()
    return pictures


def joined(parts: Sequence[Episodes]) -> Episodes:
    """Episodes of one shape in one batch."""
    classes = [part.classes for part in parts if part.classes is not None]
    return Episodes(
        torch.cat([part.support for part in parts]),
        torch.cat([part.query for part in parts]),
        torch.cat(classes),
    )


def chosen_episodes(
    config: StudyConfig, wrong: Mapping[str, NDArray[np.int64]]
) -> list[tuple[int, str]]:
    """Numbers of the episodes to show, and why; none twice.

    Args:
        config: of the study: which arms are guided.
        wrong: arm -> number of wrong queries of each episode, ``[episodes]``.
    """
    mean = np.mean(list(wrong.values()), axis=0)
    found = [(0, "the first episode")]
    found += [(i, "among the hardest for all arms") for i in _first(-mean, HARDEST)]
    pretrained = {n: w for n, w in wrong.items() if config.arms[n].encoder == "pretrained"}
    guided = [w for name, w in pretrained.items() if config.arms[name].guidance]
    plain = [w for name, w in pretrained.items() if not config.arms[name].guidance]
    if guided and plain:
        gap = np.mean(guided, axis=0) - np.mean(plain, axis=0)
        for sign, words in ((1, "fewer"), (-1, "more")):
            reason = f"guided arms have far {words} errors than unguided ones"
            found += [(i, reason) for i in _first(sign * gap, APART) if sign * gap[i] < 0]
    return _none_twice(found)


def hardest_episodes(wrong: NDArray[np.floating]) -> list[tuple[int, str]]:
    """Numbers of the first and of the hardest episodes, and why they are shown; none twice.

    Args:
        wrong: errors of each episode, ``[episodes]``.
    """
    hardest = [(i, "among the hardest") for i in _first(-wrong, HARDEST)]
    return _none_twice([*hardest, (0, "the first episode")])


def _none_twice(found: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    reasons: dict[int, str] = {}
    for number, reason in found:
        reasons.setdefault(number, reason)
    return list(reasons.items())


def _first(values: NDArray[np.floating], n: int) -> list[int]:
    first: list[int] = np.argsort(values, kind="stable")[:n].tolist()
    return first


def _confused(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """The pairs of classes that all arms together confuse most often, with each arm's count."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for arm, evaluation in evaluations.items():
        for one in evaluation.most_confused(len(evaluation.class_names) ** 2):
            counts.setdefault((one.true, one.predicted), Counter())[arm] = one.count
    most = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))[:PAIRS]
    return [
        {
            "true": true,
            "predicted": predicted,
            "counts": {arm: by_arm[arm] for arm in evaluations},
        }
        for (true, predicted), by_arm in most
    ]
