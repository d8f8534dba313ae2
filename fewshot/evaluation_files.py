"""The files that ``fewshot evaluate`` writes."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.predictions import Evaluation
from fewshot.statistics import t_interval
from guided.storage.files import write_arrays, write_bytes

Results = Mapping[str, Sequence[Evaluation]]
"""Learner -> its evaluation in each setting."""

CONFUSION = ("learner", "setting", "true", "predicted", "count", "percent")
EPISODES = ("learner", "setting", "episode", "error", "classes")
PREDICTIONS = ("learner", "setting", "episode", "image", "true", "predicted")


def write_episodes(output: Path, results: Results) -> None:
    """Write ``episodes.npz``, ``episodes.csv`` and ``confusion.csv``.

    Args:
        output: the run folder.
        results: what was measured.
    """
    _write_csv(output / "confusion.csv", CONFUSION, _confusions(results))
    _write_csv(output / "episodes.csv", EPISODES, _episodes(results))
    arrays = {
        f"{name}|{found.setting.label}": found.errors.numpy()
        for name, evaluations in results.items()
        for found in evaluations
    }
    write_arrays(output / "episodes.npz", arrays)


def result_rows(results: Results, split: str) -> list[dict[str, Any]]:
    """The error of each learner in each setting, with its interval.

    Args:
        results: what was measured.
        split: whose classes were tested.
    """
    return [
        _row(name, found, split) for name, evaluations in results.items() for found in evaluations
    ]


def write_predictions(path: Path, results: Results) -> None:
    """Write a line for each query: its learner, setting, episode and image, its true class and the
    one that it was taken for.

    ``image`` is the row of the image in its split, from 0.

    Args:
        path: of a CSV file.
        results: what was measured.
    """
    _write_csv(path, PREDICTIONS, _predictions(results))


def _predictions(results: Results) -> Iterator[Sequence[Any]]:
    for name, evaluations in results.items():
        for found in evaluations:
            classes, label = found.class_names, found.setting.label
            true, predicted = (part.tolist() for part in found.predictions)
            images = [[""] * len(row) for row in true]
            if found.images is not None:
                images = found.images.tolist()
            for episode, lines in enumerate(zip(images, true, predicted, strict=True)):
                for image, one, other in zip(*lines, strict=True):
                    yield name, label, episode, image, classes[one], classes[other]


def _episodes(results: Results) -> Iterator[Sequence[Any]]:
    for name, evaluations in results.items():
        for found in evaluations:
            rows = zip(found.errors.tolist(), found.classes.tolist(), strict=True)
            for episode, (error, classes) in enumerate(rows):
                names = " | ".join(found.class_names[c] for c in classes)
                yield name, found.setting.label, episode, f"{error:.4f}", names


def _confusions(results: Results) -> Iterator[Sequence[Any]]:
    for name, evaluations in results.items():
        for found in evaluations:
            for pair in found.most_confused(len(found.class_names) ** 2):
                key = (name, found.setting.label)
                yield (*key, pair.true, pair.predicted, pair.count, f"{pair.share:.2f}")


def _row(name: str, found: Evaluation, split: str) -> dict[str, Any]:
    interval = t_interval(found.errors.numpy())
    return {
        "learner": name,
        **vars(found.setting),
        "split": split,
        "episodes": len(found),
        "error": round(found.error, 4),
        "error_ci95_episodes": interval and [round(end, 4) for end in interval],
    }


def _write_csv(path: Path, head: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(lines)
    write_bytes(path, table.getvalue().encode())
