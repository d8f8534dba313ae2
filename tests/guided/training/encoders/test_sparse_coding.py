"""Sparse coding as a training: planted parts, links, labels, resuming, refusals."""

import pytest
import torch
import torch.nn.functional as F

import guided
from guided import InputError, LabelledImages, SparseCoding
from guided.backbones.sparse_code import standardised
from guided.training.encoders import TrainingContext


@pytest.fixture(scope="module")
def bars():
    """96 images of 8×8: one of four rows (class 0) or of four columns (class 1), and noise."""
    rng = torch.Generator().manual_seed(0)
    kind = torch.arange(96) % 8
    parts = torch.zeros(8, 8, 8)
    for i in range(4):
        parts[i, 2 * i], parts[4 + i, :, 2 * i] = 1, 1
    images = 200 * parts[kind] + 30 * torch.rand(96, 8, 8, generator=rng)
    return LabelledImages(images.to(torch.uint8)[:, None], {"class": kind // 4}), parts


SETTINGS = {"atoms": 32, "passes": 4, "batch_size": 24}


def test_atoms_are_the_parts_of_images(bars, tmp_path):
    images, parts = bars
    training = SparseCoding(**SETTINGS)
    encoder = guided.train_encoder(training, images, seed=1, picture_folder=tmp_path).encoder
    similarity = standardised(parts[:, None]) @ encoder.backbone.dictionary.T
    assert similarity.amax(1).min() > 0.95
    features = encoder(images.images)
    assert features.shape == (96, 32) and features.min() >= 0
    assert (tmp_path / "atoms.png").exists()


def test_atoms_of_patches_are_pieces_of_lines(bars):
    """A row or a column of a 3×3 patch; the few images that are blank start none."""
    training = SparseCoding(patch=3, stride=1, grid=2, link={"class": 0.1}, **SETTINGS)
    encoder = guided.train_encoder(training, bars[0]).encoder
    atoms = encoder.backbone.dictionary.view(32, 3, 3)
    straight = torch.maximum(atoms.mean(1).square().sum(1), atoms.mean(2).square().sum(1)) * 3
    assert straight.median() > 0.9
    assert encoder(bars[0].images).shape == (96, 32 * 4)


def test_a_link_reads_labels_and_no_link_reads_none(bars):
    """Those of an unknown class take part as images."""
    images, _ = bars
    assert SparseCoding().labels == SparseCoding(link={"class": 0}).labels == ()
    training = SparseCoding(link={"class": 0.5}, **SETTINGS)
    assert training.labels == ("class",)
    assert not training.selects and training.fixed
    alone = SparseCoding(**SETTINGS).fit(images, TrainingContext())
    none = SparseCoding(link={"class": 0}, **SETTINGS).fit(images, TrainingContext())
    assert torch.equal(alone.atoms, none.atoms)
    linked = training.fit(images, TrainingContext())
    told = linked.predict(linked.code({"image": standardised(images.images.float())}), "class")
    assert (told.argmax(1) == images.labels["class"]).all()
    half = images.labels["class"].clone()
    half[::2] = -1
    part = training.fit(LabelledImages(images.images, {"class": half}), TrainingContext())
    assert part.atoms.isfinite().all()
    assert F.cosine_similarity(part.atoms, linked.atoms).min() < 0.9999


def test_a_run_that_was_stopped_ends_with_the_same_bits(bars, tmp_path, monkeypatch):
    images, _ = bars
    training = SparseCoding(link={"class": 0.5}, sparsity_start=0.05, **SETTINGS)
    whole = guided.train_encoder(training, images, seed=3).encoder
    learn = guided.sparse_coding.LinkedDictionaries.learn
    calls = []

    def stop(*given, **named):
        calls.append(None)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return learn(*given, **named)

    file = tmp_path / "state.pt"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(guided.sparse_coding.LinkedDictionaries, "learn", stop)
        guided.train_encoder(training, images, seed=3, state_file=file)
    resumed = guided.train_encoder(training, images, seed=3, state_file=file).encoder
    assert torch.equal(resumed.backbone.dictionary, whole.backbone.dictionary)


def test_an_atom_that_nothing_uses_begins_anew(bars):
    """Its image was blank: without a restart it would stay blank."""
    images, _ = bars
    blank = images.images.clone()
    blank[:90] = 0
    blanks = []
    for passes in (1, 9):
        training = SparseCoding(atoms=60, passes=passes, batch_size=96)
        atoms = training.fit(LabelledImages(blank), TrainingContext()).atoms
        blanks.append(int((atoms.norm(dim=1) == 0).sum()))
    assert 50 < blanks[0] < 60 and blanks[1] < blanks[0] - 10


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"atoms": 0}, r"SparseCoding\.atoms: expected at least 1, got 0"),
        ({"sparsity_start": -1}, r"SparseCoding\.sparsity_start: expected > 0, got -1"),
        ({"learning_rate": 2}, r"SparseCoding\.learning_rate: expected in \(0, 1\], got 2"),
        ({"link": {"class": -1}}, r"SparseCoding\.link\.class: expected at least 0, got -1"),
        ({"atoms": 97}, r"SparseCoding\.atoms: 97 is more than the 96 training images"),
        ({"batch_size": 97, "atoms": 9}, r"SparseCoding\.batch_size: 97 is more than the 96"),
        ({"link": {"drawer": 1}, "atoms": 9}, "SparseCoding: needs labels of 'drawer'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(bars, given, message):
    with pytest.raises(InputError, match=message):
        guided.train_encoder(SparseCoding(**{"batch_size": 24, **given}), bars[0])
