"""Sparse codes as features."""

import pytest
import torch

import guided
from guided import InputError, SparseCode
from guided.backbones.sparse_code import standardised


def test_features_know_no_brightness_or_contrast_and_nothing_of_constant_images(
    make_images, tmp_path
):
    images = make_images(9, channels=2, size=6)
    backbone = SparseCode((2, 6, 6), atoms=9, sparsity=0.05)
    backbone.dictionary.copy_(standardised(images.float() / 255))
    encoder = guided.Encoder(backbone, None).eval()
    codes = encoder(images)
    torch.testing.assert_close(codes, 0.95 * torch.eye(9), rtol=0, atol=0.02)
    dimmed = 0.3 + 0.2 * images.float() / 255
    torch.testing.assert_close(encoder(dimmed), codes, rtol=0, atol=1e-3)
    assert not encoder(torch.full((1, 2, 6, 6), 77, dtype=torch.uint8)).any()
    encoder.save(tmp_path / "sparse.safetensors")
    loaded = guided.Encoder.load(tmp_path / "sparse.safetensors")
    assert torch.equal(loaded(images), codes) and not list(loaded.parameters())


def test_what_it_cannot_do_is_refused():
    with pytest.raises(InputError, match=r"SparseCode\.sparsity: expected > 0, got 0"):
        SparseCode((1, 4, 4), sparsity=0)
    with pytest.raises(InputError, match="SparseCode: has no decoder"):
        SparseCode((1, 4, 4)).decoder(3)
