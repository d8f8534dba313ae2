"""A guidance from outside the package: settings, module, measure and figure in one place."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch

import guided
from guided.figures import sheet_figure, traversal_figures
from guided.guidance import Measures
from guided.metrics import HeldOut


def ink(images):
    return images.mean((1, 2, 3))


def ink_error(held_out, slices):
    ((name, (latent, _)),) = slices.items()
    error = abs(held_out.latents[:, latent] - ink(held_out.images / 255).numpy())
    return [{"measure": f"error of {name}", "slice": float(error.mean())}]


@dataclass(frozen=True)
class Ink(guided.Guidance):
    """One latent is the amount of ink."""

    measures: ClassVar[Measures] = {"ink": (ink_error,)}

    def build(self, context):
        return InkModule(context.latents.take("ink", role="ink")[0])


class InkModule(guided.GuidanceModule):
    weights = {"ink": 1000.0}  # noqa: RUF012

    def __init__(self, latent):
        super().__init__()
        self.latent = latent

    def losses(self, images, posterior, z, targets):
        return {"ink": (posterior.mean[:, self.latent] - ink(images)).square().mean()}

    def figures(self, vae, images):
        darkest = ink(images / 255).argmax()
        return {"inkiest": sheet_figure(images[None, darkest] / 255)}


def test_a_guidance_of_ones_own_trains_draws_and_is_measured(make_images, tmp_path):
    shades = torch.linspace(0.1, 1, 40).view(-1, 1, 1, 1)
    images = guided.LabelledImages((make_images(40) * shades).to(torch.uint8))
    trained = guided.pretrain(
        images,
        guidance=[guided.DeformablePCA(deformations=("scale",)), Ink()],
        backbone=partial(guided.Conv4, width=4),
        latent_dim=4,
        steps=60,
        batch_size=20,
        learning_rate=1e-2,
    )
    assert "inkiest" in traversal_figures(trained.model, images.images)
    trained.encoder.save(tmp_path / "encoder.safetensors")
    encoder = guided.Encoder.load(tmp_path / "encoder.safetensors")
    assert encoder.layout.roles == {"ink": "ink", "scale": "deformation"}
    (measure,) = guided.Guidance.all_measures([Ink()])["ink"]
    (entry,) = measure(HeldOut(encoder, images.images), encoder.layout.with_role("ink"))
    assert entry["measure"] == "error of ink"
    assert entry["slice"] < 0.1
