"""Measurements of an encoder's latents on held-out classes, made by the guidances' measures."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Dataset
from guided.encoder import Encoder
from guided.guidance.base import Guidance
from guided.guided_vae import GuidedVAE
from guided.latents import ATTRIBUTE, attributes_in
from guided.metrics.held_out import HeldOut
from guided.vae import Posterior


def diagnose(
    encoder: Encoder,
    bank: ImageBank,
    slices: Mapping[str, tuple[int, int]],
    device: str = "cpu",
    seed: int = 0,
    guidance: Iterable[Guidance] = (),
) -> list[dict[str, Any]]:
    """All measurements that apply to an encoder and can be made on these images.

    Args:
        encoder: with all its latents.
        bank: held-out images.
        slices: attribute -> the latents that some arm excites for it; every encoder with latents
            is probed at the same places, so that guided and unguided ones compare.
        device: where to encode.
        seed: of the probes' splits.
        guidance: strategies in use; those from outside the package may name measures too.
    """
    layout = encoder.layout
    encoder.to(device).eval()
    measured: list[dict[str, Any]] = []
    if layout is None:
        return measured
    held_out = HeldOut(encoder, bank.images, bank.targets(), bank.factors, seed=seed)
    for role, measures in Guidance.all_measures(guidance).items():
        if role == ATTRIBUTE:
            # An encoder from a file may have fewer latents than the arm that excites.
            places = {k: place for k, place in slices.items() if place[1] <= layout.latent_dim}
        else:
            places = layout.with_role(role)
        if places:
            measured += [entry for measure in measures for entry in measure(held_out, places)]
    return measured


@torch.no_grad()
def latent_facts(
    encoder: Encoder, bank: ImageBank, device: str = "cpu", *, posterior: bool
) -> dict[str, list[float]]:
    """Signs of posterior collapse, a number for each latent.

    Args:
        encoder: with all its latents.
        bank: held-out images, at least 2.
        device: where to encode.
        posterior: True if it is a VAE's.

    Returns:
        Of a VAE's, ``kl_per_latent``: KL of the posterior from N(0, 1), nats, mean over the images;
        ``variance_ratios``: variance of the posterior's mean over the images, by its mean variance,
        as of :func:`guided.metrics.collapse.image_to_chain_variance` without draws. The
        latter alone of an encoder whose backbone infers; empty of any other.
    """
    encoder.to(device).eval()
    if not posterior:
        ratios = encoder.backbone.variance_ratios(bank.images)
        return {"variance_ratios": ratios} if ratios else {}
    moments = [encoder.moments(images.to(device)) for images in bank.images.split(1024)]
    q = Posterior(*map(torch.cat, zip(*moments, strict=True)))
    return {
        "kl_per_latent": [round(float(kl), 5) for kl in q.kl().mean(0)],
        "variance_ratios": [
            round(float(ratio), 4) for ratio in q.mean.var(0) / q.logvar.exp().mean(0)
        ],
    }


def examine(model: GuidedVAE, bank: ImageBank, dataset: Dataset) -> list[dict[str, Any]]:
    """Measurements that the guidances of a trained model make on it, beside its encoder's latents.

    Args:
        model: as training ended.
        bank: held-out images.
        dataset: where they come from; it may know the truth of interventions.

    Returns:
        the measurements; none of a model without the ELBO, whose decoder is not trained.
    """
    if not model.elbo:
        return []
    held_out = HeldOut(
        model.vae.encoder,
        bank.images,
        bank.targets(),
        bank.factors,
        dataset.counterfactual if any(dataset.graph.values()) else None,
    )
    found = [strategy.examine(model.vae, held_out) for strategy in model.strategies]
    return [entry for measured in found for entry in measured]


def measures_in_use(guidance: Iterable[Guidance] = ()) -> dict[str, list[str]]:
    """Role of latents -> the names of the measures that :func:`diagnose` applies to them.

    Args:
        guidance: as for :func:`diagnose`.
    """
    return {
        role: [getattr(measure, "__name__", str(measure)) for measure in measures]
        for role, measures in Guidance.all_measures(guidance).items()
    }


def excited_slices(encoder: Encoder, bank: ImageBank) -> dict[str, tuple[int, int]]:
    """Attribute -> its latents, for the slices that are named after an attribute or a factor of the
    bank, or after one within another (``drawer within alphabet``)."""
    slices = encoder.layout.with_role(ATTRIBUTE) if encoder.layout else {}
    known = {*bank.targets(), *bank.factors}
    return {name: place for name, place in slices.items() if known.issuperset(attributes_in(name))}
