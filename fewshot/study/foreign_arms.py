"""Encoders of a study that nothing trains here: networks from elsewhere, and given embeddings."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fewshot.config import made_by
from fewshot.data.bank import ImageBank
from fewshot.data.embeddings.bank import EmbeddingBank
from fewshot.study.arm_config import IMPORTED, ArmConfig
from guided.backbones import BackboneFactory, ImageShape
from guided.encoder import Encoder, digest
from guided.errors import InputError
from guided.seeds import seeded_initialisation


def check_data(arm: ArmConfig, key: str, bank: ImageBank) -> None:
    """Refuse an encoder that reads images where there are embeddings, and the reverse.

    Args:
        arm: of the encoder.
        key: the arm's key in a configuration, for the message.
        bank: of the dataset.

    Raises:
        InputError: which names the key.
    """
    embedded = isinstance(bank, EmbeddingBank)
    if arm.encoder == "embeddings" and not embedded:
        raise InputError(f"{key}.encoder: embeddings are those of an Embeddings dataset alone")
    if embedded and arm.kind not in ("embeddings", "checkpoint", IMPORTED):
        raise InputError(
            f"{key}.encoder: {arm.kind} needs images, and the dataset has embeddings alone; set "
            "encoder to embeddings"
        )


def import_encoder(network: BackboneFactory, shape: ImageShape, seed: int) -> Encoder:
    """The encoder of a network from elsewhere, in evaluation mode; its output are the features.

    Args:
        network: makes it; ``{seed}`` in the path of its weights stands for the seed.
        shape: (C, H, W) of the images.
        seed: of weights that are random.

    Raises:
        InputError: the network cannot read the images, or the weights are not its own.
    """
    if isinstance(network, partial) and "{seed}" in str(network.keywords.get("weights")):
        file = str(network.keywords["weights"]).replace("{seed}", str(seed))
        network = partial(network, weights=Path(file))
    with seeded_initialisation(seed, "imported encoder", "weights"):
        return Encoder(network(shape), None).eval()


def imported_facts(encoder: Encoder) -> dict[str, str]:
    """All that an imported encoder is a function of: its weights and settings, and others' code."""
    backbone = encoder.backbone
    return {"weights": digest(encoder), "code": backbone.code(backbone.settings)}


def outside_code(arms: Mapping[str, ArmConfig]) -> dict[str, Any]:
    """The code of others that imported encoders depend on, for the mark of a finished run.

    Returns:
        ``{"code": {arm: version or digest}}``; empty without such arms.
    """
    factories = {name: arm.from_elsewhere for name, arm in arms.items()}
    code = {
        name: made_by(network).code(getattr(network, "keywords", {}))
        for name, network in factories.items()
        if network
    }
    return {"code": code} if code else {}
