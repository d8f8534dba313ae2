"""Counts of wrong answers: what is stored is what is read, in the smallest types."""

import re

import numpy as np
import pytest

from fewshot.study.counts import Counts, EpisodeList, smallest
from guided.errors import InputError
from guided.seeds import derive_seed

SEED = derive_seed(0, "test", "3w1s")  # of 64 bits


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    wrong = {
        ("vae", "proto", "all", "3w1s"): rng.integers(0, 60, (2, 5)),
        ("vae", "a learner, named", "all", "3w1s"): rng.integers(250, 260, (2, 5)),
        ("vae", "16"): rng.integers(0, 2, (3, 4, 20)),
    }
    wrong["vae", "a learner, named", "all", "3w1s"][0, 0] = 256
    classes = {"3w1s": rng.integers(0, 200, (5, 3)), "20w1s": rng.integers(0, 1000, (5, 20))}
    return Counts(wrong, {label: EpisodeList(SEED, drawn) for label, drawn in classes.items()})


def test_round_trip(counts, tmp_path):
    path = tmp_path / "episodes.npz"
    counts.save(path)
    found = Counts.load(path)
    assert found.wrong.keys() == counts.wrong.keys()
    assert all(np.array_equal(found.wrong[key], counts.wrong[key]) for key in counts.wrong)
    assert [str(array.dtype) for array in found.wrong.values()] == ["uint8", "uint16", "uint8"]
    assert found.episodes.keys() == counts.episodes.keys()
    for label, drawn in found.episodes.items():
        assert drawn.seed == SEED > 2**53
        assert np.array_equal(drawn.classes, counts.episodes[label].classes)
    assert [drawn.classes.dtype.itemsize for drawn in found.episodes.values()] == [1, 2]


@pytest.mark.parametrize(
    ("highest", "kind"),
    [(0, "uint8"), (255, "uint8"), (256, "uint16"), (65_535, "uint16"), (65_536, "uint32")],
)
def test_the_smallest_type_that_holds_them(highest, kind):
    stored = smallest(np.array([0, highest]))
    assert (stored.dtype, stored.tolist()) == (kind, [0, highest])
    assert smallest(np.zeros((2, 0), np.int64)).dtype == "uint8"


def whole(path, counts):
    counts.save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path, _: None, "missing; it holds the counts that rows are scored from"),
        (lambda path, _: path.write_text("<html>404</html>"), "damaged, or no archive"),
        (lambda path, _: path.mkdir(), "cannot be read (Is a directory)"),
        (
            lambda path, counts: path.write_bytes(whole(path, counts)[:400]),
            "damaged, or no archive",
        ),
        (
            lambda path, _: np.savez(path, **{"vae|proto|all|3w1s": np.zeros((2, 5))}),
            "holds no counts of wrong answers, expected wrong|ARM|...",
        ),
        (
            lambda path, _: np.savez(path, **{"wrong|vae|16": np.zeros((2, 5))}),
            "wrong|vae|16: expected unsigned integers [seeds, episodes, ...]",
        ),
        (
            lambda path, _: np.savez(
                path, **{"wrong|vae|16": np.uint8([[1]]), "classes|3w1s": np.uint8([[1]])}
            ),
            "classes|3w1s without seed|3w1s",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(counts, tmp_path, damage, message):
    path = tmp_path / "episodes.npz"
    damage(path, counts)
    with pytest.raises(InputError, match=re.escape(f"{path}: ")) as caught:
        Counts.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
