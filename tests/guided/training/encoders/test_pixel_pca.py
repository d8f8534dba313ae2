"""Principal components beside scikit-learn's, and what has none."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import guided
from guided.training.encoders import pixel_pca


@pytest.fixture
def images():
    """Smooth grey images of decreasing spectrum, 300 of 2×9×8."""
    rng = torch.Generator().manual_seed(0)
    mixing = torch.randn(144, 144, generator=rng) * 0.85 ** torch.arange(144)[:, None]
    values = torch.randn(300, 144, generator=rng) @ mixing
    return (128 + 12 * values).clamp(0, 255).to(torch.uint8).view(300, 2, 9, 8)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "iterated"])
@pytest.mark.parametrize("whiten", [False, True])
def test_features_are_those_of_scikit_learn_up_to_sign(
    images, exact, whiten, monkeypatch, tmp_path
):
    """On other images too, from its file; in several batches, seen from the same seed."""
    monkeypatch.setattr(pixel_pca, "BATCH", 70)
    if not exact:
        monkeypatch.setattr(pixel_pca, "EXACT", 100)
    train, other = images[:200], images[200:]
    training = guided.PixelPCA(components=10, whiten=whiten)
    encoder = guided.train_encoder(training, guided.LabelledImages(train), seed=1).encoder
    encoder.save(tmp_path / "pca.safetensors")
    found = guided.Encoder.load(tmp_path / "pca.safetensors")(other).double().numpy()
    theirs = PCA(10, whiten=whiten, svd_solver="full").fit(train.flatten(1).numpy() / 255)
    expected = theirs.transform(other.flatten(1).numpy() / 255)
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-3, atol=2e-4)
    assert np.abs(expected).max() > 1
    weights = encoder.backbone.weight
    assert (weights.gather(1, weights.abs().argmax(1, keepdim=True)) > 0).all()
    assert not list(encoder.parameters())


def test_what_has_no_principal_components(images):
    few = guided.LabelledImages(images[:5])
    with pytest.raises(guided.InputError, match="components: expected at least 1, got 0"):
        guided.PixelPCA(components=0)
    with pytest.raises(guided.InputError, match="expected at most 4, for 5 images of 2×9×8, got 5"):
        guided.train_encoder(guided.PixelPCA(components=5), few)
    with pytest.raises(guided.InputError, match=r"components: expected at most 144"):
        guided.train_encoder(guided.PixelPCA(components=145), guided.LabelledImages(images))
    twice = guided.LabelledImages(images[:3].repeat(2, 1, 1, 1))
    with pytest.raises(guided.InputError, match="whiten: component 3 of the training images has"):
        guided.train_encoder(guided.PixelPCA(components=3, whiten=True), twice)
    plain = guided.train_encoder(guided.PixelPCA(components=3), twice).encoder
    assert plain(images[:3])[:, 2].abs().max() < 1e-5


def test_pixels_are_the_features_again(images):
    """With all components the encoder turns the images, and no distance changes."""
    encoder = guided.train_encoder(
        guided.PixelPCA(components=144), guided.LabelledImages(images)
    ).encoder
    pixels = images.flatten(1).float() / 255
    torch.testing.assert_close(
        torch.pdist(encoder(images)), torch.pdist(pixels), rtol=1e-3, atol=1e-4
    )
