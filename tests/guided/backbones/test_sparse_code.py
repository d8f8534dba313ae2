"""Sparse codes as features."""

import pytest
import torch
import torch.nn.functional as F

import guided
from guided import InputError, SparseCode
from guided.backbones.sparse_code import standardised
from guided.sparse_coding import encode


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


def test_patches_are_coded_each_and_averaged_over_a_grid(make_images):
    """A plain loop over patches, of which faint ones stay faint."""
    images = make_images(3, channels=2, size=10).float() / 255
    images[:, :, :, 7:] = 0.5 + 0.01 * images[:, :, :, 7:]
    backbone = SparseCode((2, 10, 10), atoms=7, sparsity=0.05, patch=4, stride=2, grid=2)
    rng = torch.Generator().manual_seed(0)
    backbone.dictionary.copy_(F.normalize(torch.randn(7, 32, generator=rng)))
    expected = torch.zeros(3, 7, 4, 4)
    for i, image in enumerate(images):
        for row in range(4):
            for column in range(4):
                cut = image[:, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4].flatten()
                cut = (cut - cut.mean())[None]
                cut = cut / max(1.0, float(cut.norm()))
                code = encode(cut, backbone.dictionary, 0.05, nonnegative=True, tolerance=1e-3)
                expected[i, :, row, column] = code[0]
    cells = [expected[..., a : a + 2, b : b + 2].mean((2, 3)) for a in (0, 2) for b in (0, 2)]
    found = backbone(images)
    assert backbone.feature_dim == 28 and found.any(0).sum() > 10
    torch.testing.assert_close(found, torch.stack(cells, 2).flatten(1), rtol=0, atol=1e-4)
    with pytest.raises(InputError, match=r"SparseCode\.patch: 11 is more than the images'"):
        SparseCode((2, 10, 10), patch=11)
