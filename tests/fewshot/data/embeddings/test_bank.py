"""Arrays in memory as a bank."""

import numpy as np
import pytest
import torch

import fewshot
from fewshot.data import EmbeddingBank
from fewshot.learners import DeformationMatching, NearestNeighbour, Prototypical, Ridge
from fewshot.sampler import EpisodeSampler
from guided import Encoder, InputError


@pytest.fixture
def arrays():
    """Features of five classes, unsorted, and their names."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.array(["oak", "ash", "elm", "fir", "yew"]), 12))
    centres = {name: rng.normal(size=7) for name in np.unique(labels)}
    return np.stack([centres[name] + rng.normal(size=7) for name in labels]), labels


def test_errors_are_those_of_a_plain_double_loop(arrays):
    """Nearest class mean and nearest support, episode by episode, from the arrays themselves."""
    features, labels = arrays
    bank = EmbeddingBank.from_arrays(features, labels)
    assert bank.class_names == ("ash", "elm", "fir", "oak", "yew")
    setting = {"n_way": 4, "n_shot": 3, "n_query": 5}
    found = {
        kind: fewshot.evaluate(kind(bank.plain_encoder()), bank, **setting, episodes=20, seed=3)
        for kind in (Prototypical, NearestNeighbour)
    }
    one = found[Prototypical]
    features = features.astype(np.float32)
    for number, (classes, images) in enumerate(zip(one.classes, one.images, strict=True)):
        names = np.repeat([bank.class_names[c] for c in classes], setting["n_query"])
        assert (labels[images] == names).all()
        rows = EpisodeSampler(bank, one.setting, _seed(3)).batch(number, number + 1)
        support = features[rows.support[0].numpy()]
        query = features[rows.query[0].numpy()].reshape(-1, 7)
        to_means = ((query[:, None] - support.mean(1)) ** 2).sum(-1)
        to_images = ((query[:, None, None] - support) ** 2).sum(-1).min(-1)
        truth = np.repeat(np.arange(4), 5)
        for kind, distances in ((Prototypical, to_means), (NearestNeighbour, to_images)):
            error = 100 * (distances.argmin(1) != truth).mean()
            assert found[kind].errors[number] == pytest.approx(error, abs=1e-4)


def _seed(root):
    from guided.seeds import derive_seed

    return derive_seed(root, "test", "4w3s")


def test_a_learner_that_fits_something(arrays):
    bank = EmbeddingBank.from_arrays(*arrays)
    found = fewshot.evaluate(
        Ridge(bank.plain_encoder()), bank, n_way=5, n_shot=5, n_query=5, episodes=10
    )
    assert found.error < 40  # of 80 by chance


def test_a_learner_that_looks_at_images_is_refused(arrays):
    with pytest.raises(InputError, match=r"DeformationMatching: looks at images"):
        DeformationMatching(EmbeddingBank.from_arrays(*arrays).plain_encoder())


def test_several_embeddings_side_by_side(arrays, tmp_path):
    features, labels = arrays
    bank = EmbeddingBank.from_arrays({"one": features[:, :3], "two": features[:, 3:]}, labels)
    encoder = bank.plain_encoder()
    encoder.save(tmp_path / "encoder.safetensors")
    for made in (encoder, Encoder.load(tmp_path / "encoder.safetensors")):
        for latents, expected in [
            ("all", features),
            ("two", features[:, 3:]),
            ("two+one", np.roll(features, 4, 1)),
        ]:
            given = made.select(latents)(bank.images).numpy()
            np.testing.assert_array_equal(given, expected.astype(np.float32))
    with pytest.raises(InputError, match="no slice is called 'three'; there are: all, one, two"):
        encoder.select("three")
    other = EmbeddingBank.from_arrays({"one": features[:, :4], "two": features[:, 4:]}, labels)
    assert torch.equal(other.images, bank.images) and other.digest != bank.digest


def test_labels_that_are_numbers():
    features = torch.arange(12.0).view(6, 2)
    bank = EmbeddingBank.from_arrays(features, torch.tensor([7, 7, 2, 2, 9, 9]))
    assert bank.class_names == ("2", "7", "9") and bank.labels.tolist() == [1, 1, 0, 0, 2, 2]
    assert bank.images.data_ptr() == features.data_ptr(), "float32 is not copied"
    named = EmbeddingBank.from_arrays(features, [0, 0, 2, 2, 2, 0], ["ash", "elm", "fir"])
    assert named.class_names == ("ash", "fir") and named.labels.tolist() == [0, 0, 1, 1, 1, 0]


def test_pictures_are_squares_of_grey(arrays):
    bank = EmbeddingBank.from_arrays(*arrays)
    pictures = bank.shown(torch.tensor([3, 5]))
    assert pictures.shape == (2, 1, 3, 3) and pictures.dtype == torch.uint8
    order = bank.images[3].flatten().argsort()
    assert (pictures[0].flatten()[order].int().diff() >= 0).all(), "brighter where larger"
    page = bank._repr_html_()
    assert "5 classes, 60 embeddings of 7 numbers" in page and page.count("<img") == 5


@pytest.mark.parametrize(
    ("features", "labels", "names", "message"),
    [
        (np.ones((3, 2)), [0, 1], None, "features: 3 rows, but 2 labels"),
        (np.ones(3), [0, 1, 2], None, r"features: expected embeddings \[N, d\], got \[3\]"),
        (np.ones((3, 0)), [0, 1, 2], None, r"expected embeddings \[N, d\], got \[3, 0\]"),
        (np.array([["a"]]), [0], None, r"features: expected numbers \[N, d\], got <U1"),
        (np.array([[1], [np.nan], [np.inf]]), [0, 0, 0], None, "2 of 3 .* first in row 1"),
        (np.ones((2, 2)), [0.5, 1.5], None, "labels: expected whole numbers or names, got float"),
        (np.ones((2, 2)), [[0], [1]], None, r"labels: expected one for each row, got .*\[2, 1\]"),
        (np.ones((2, 2)), [0, 3], ["a", "b"], r"class_names: 2 names, for labels 0 … 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(features, labels, names, message):
    with pytest.raises(InputError, match=message):
        EmbeddingBank.from_arrays(features, labels, names)
