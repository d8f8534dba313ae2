"""The commands that faults happen to, on a study of seconds."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guided.storage.checksums import weights_checksum
from guided.storage.files import read_weights

SHAPE = {"n_way": 3, "n_shot": 1, "n_query": 2}
ALPHABETS = {"n_alphabets": 3, "validation_alphabets": 1, "test_alphabets": 1, "size": 16}
GLYPHS = {"class_path": "Glyphs", "init_args": ALPHABETS | {"n_characters": 4, "n_drawers": 6}}
DRAWERS = {
    "class_path": "Glyphs",
    "init_args": ALPHABETS | {"n_characters": 4, "n_drawers": 6, "split": "drawers"},
}
PRETRAIN = {
    "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
    "latent_dim": 4,
    "kl_warmup": 2,
    "steps": 4,
    "batch_size": 16,
    "validate_every": 2,
    "log_every": 2,
}
TRAIN = {
    "steps": 4,
    "setting": SHAPE,
    "validation": SHAPE,
    "validation_episodes": 3,
    "validate_every": 2,
}
STUDY = {
    "study": "faults",
    "dataset": GLYPHS,
    "arms": {"vae": {}, "random": {"encoder": "random"}},
    "pretrain": PRETRAIN,
    "learners": {"prototypical": {"learner": {"class_path": "Prototypical"}}},
    "settings": [SHAPE],
    "seeds": [0],
    "episodes": 6,
    "selection_episodes": 4,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "pretrain": {"dataset": GLYPHS, "pretrain": PRETRAIN},
    "train": {
        "dataset": GLYPHS,
        "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
        "learner": {"class_path": "MAML", "init_args": {"n_way": 3}},
        "train": TRAIN,
    },
    "evaluate": {"dataset": GLYPHS, "settings": [SHAPE], "episodes": 6},
    "compare": STUDY,
    "probe": {
        "study": "probe",
        "dataset": DRAWERS,
        "arms": {"vae": {}},
        "latent_dims": [3],
        "seeds": [0],
        "samples": 10,
        "pretrain": {"steps": 2, "batch_size": 16},
        "features": {"steps": 2, "batch_size": 16},
    },
    "nica": {
        "study": "nica",
        "sources": {"number": 3, "segments": 5},
        "estimator": {"steps": 5, "batch_size": 16},
        "samples": [4, 8],
        "widths": [3],
        "seeds": [0],
        "test_samples": 20,
    },
    "studied": STUDY | {"seeds": [0, 1, 2], "arms": {"vae": {}}},
}
"""Name -> the configuration; ``studied`` is the comparison whose encoders ``select`` takes."""

TIMES = {"checksum"}
"""Keys of results that may differ, beside those that name seconds."""


@dataclass(frozen=True)
class Subject:
    """A command on the tiny study.

    Attributes:
        name: of the command.
        arguments: of it, with paths below the working folder.
        prepared_by: arguments of a command that must have run before.
    """

    name: str
    arguments: tuple[str, ...]
    prepared_by: tuple[str, ...] = ()

    def prepare(self, folder: Path) -> None:
        """Write the configurations into an empty working folder."""
        folder.mkdir(parents=True)
        for name, config in CONFIGS.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


def _subject(name: str, *more: str) -> Subject:
    return Subject(name, (name, f"{name}.yaml", "--output", "run", *more))


SERIAL = ("--executor", "serial")
SUBJECTS = {
    subject.name: subject
    for subject in (
        _subject("pretrain"),
        _subject("train"),
        _subject("evaluate"),
        _subject("compare", *SERIAL),
        _subject("probe", *SERIAL),
        _subject("nica", *SERIAL),
        Subject(
            "select",
            ("select", "study", "--images", "10", "--votes", "3", "--output", "run", *SERIAL),
            ("compare", "studied.yaml", "--output", "study", *SERIAL),
        ),
    )
}


SHARES = {
    **{"pretrain": 14, "train": 20, "evaluate": 30},
    **{"compare": 12, "probe": 10, "nica": 10, "select": 4},
}
"""How many of a hundred faults happen to each command: more to those that take less time."""


def numbers(run: Path) -> dict[str, str]:
    """The results in a run folder: file -> digest of its content without times."""
    return {path.name: _digest(path) for path in _results(run)}


def _results(run: Path) -> Iterator[Path]:
    for pattern in ("results.json", "select.json", "*.npz", "*.csv", "*.safetensors"):
        yield from sorted(run.glob(pattern))


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # whose metadata tell how long it took
        weights, _ = read_weights(path)
        content = weights_checksum(weights, {}).encode()
    if path.suffix == ".json":
        content = json.dumps(_without_times(json.loads(content)), sort_keys=True).encode()
    return hashlib.blake2b(content).hexdigest()[:16]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_times(item)
            for key, item in value.items()
            if key not in TIMES and "seconds" not in key
        }
    return [_without_times(item) for item in value] if isinstance(value, list) else value
