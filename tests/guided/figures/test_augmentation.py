"""The contact sheet of an augmentation."""

import torch

from guided import Augmentation, Deformations
from guided.figures import augmentation_figure


def test_learned_deformations_have_a_row_too(row_labels, tmp_path):
    Deformations(torch.eye(32), torch.eye(32)).save(tmp_path / "file.safetensors")
    augmentation = Augmentation(learned=tmp_path / "file.safetensors", strength=0.5)
    figure = augmentation_figure(augmentation, torch.rand(1, 12, 12), columns=2)
    assert row_labels(figure) == ["learned 0.5", "all"]


def test_each_deformation_has_a_row_of_its_own(sheet, row_labels):
    image = torch.zeros(1, 12, 12)
    image[:, 3:9, 5:7] = 1
    augmentation = Augmentation(rotation=40, thickness=0.9, views=2)
    figure = augmentation_figure(augmentation, image, columns=4)
    assert row_labels(figure) == ["rotation 40", "thickness 0.9", "all"]
    found = torch.from_numpy(sheet(figure)).view(3, 12, 5, 12).transpose(1, 2)
    assert torch.equal(found[:, 0], image.expand(3, 12, 12))
    assert not (found[:, 1:] == image).flatten(2).all(2).any()
    turned, thickened, both = found[:, 1:].double()
    assert (thickened[:, :, 8:].sum((1, 2)) == 0).all()  # it does not turn
    assert (turned[:, :, 8:].sum((1, 2)) > 0).any()
    assert (both[:, :, 8:].sum((1, 2)) > 0).any()
