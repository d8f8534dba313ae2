"""``compile: true``: the same training, by translated networks, and one line where that fails."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from guided.backbones import Conv4
from guided.compiled import as_written
from guided.errors import InputError
from guided.guidance.deformable_pca import DeformablePCA
from guided.pretrain import LabelledImages, PretrainConfig, Pretrained, pretrain

PLAIN = PretrainConfig(
    backbone=partial(Conv4, width=4),
    latent_dim=6,
    guidance=[partial(DeformablePCA, deformations=("rotation",))],
    steps=4,
    batch_size=8,
    validate_every=2,
)


@pytest.fixture
def data(make_images: Callable[..., Tensor]) -> tuple[LabelledImages, LabelledImages]:
    return LabelledImages(make_images(20)), LabelledImages(make_images(6))


# Looking at a graph's inputs, torch's translator asks for the gradient of each.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_translated_training_is_the_same_training(
    data: tuple[LabelledImages, LabelledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    translated: list[int] = []  # of each call, the size of its batch

    def counting(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        def run(*values: Any) -> Any:
            translated.append(max(len(v) for v in values if isinstance(v, Tensor) and v.dim() > 1))
            return graph.forward(*values)

        return run

    plain = pretrain(PLAIN, *data, seed=0)
    # Without torch's own code generator, which takes half a minute and a C++ compiler.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    compiled = pretrain(replace(PLAIN, compile=True), *data, seed=0)

    assert len(translated) == 2 * PLAIN.steps  # encoder and decoder; validation is not translated
    assert {name: v.shape for name, v in weights(plain).items()} == {
        name: v.shape for name, v in weights(compiled).items()
    }
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], value, msg=name)
    assert compiled.progress.history == plain.progress.history
    compiled.model.vae.encoder(data[1].images)
    assert len(translated) == 2 * PLAIN.steps  # what is returned runs as it is written


def weights(trained: Pretrained) -> dict[str, Tensor]:
    return trained.model.state_dict() | trained.encoder.state_dict()


def test_as_written_leaves_a_translated_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        calls.append(1)
        return graph.forward

    layer = torch.nn.Linear(2, 3)
    layer.compile(backend=backend)
    with as_written():
        layer(torch.ones(4, 2))
    assert not calls
    layer(torch.ones(4, 2))
    assert calls


def test_a_compiler_that_fails_is_one_line(
    data: tuple[LabelledImages, LabelledImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("no\ncompiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(InputError, match=r"^compile: .*torch\.compile failed: .*") as caught:
        pretrain(replace(PLAIN, compile=True), *data, seed=0)
    assert "\n" not in str(caught.value)


def test_what_was_computed_before_the_option_stays_valid() -> None:
    from fewshot.config import describe

    assert "compile" not in describe(PLAIN)
    assert describe(replace(PLAIN, compile=True))["compile"] is True
