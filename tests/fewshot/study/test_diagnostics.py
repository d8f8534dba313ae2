"""Diagnostics of encoders whose latents are known to hold what is measured."""

import torch

from fewshot.commands.compare import CompareConfig
from fewshot.config import parse
from fewshot.data import data_root
from fewshot.data.bank import ImageBank
from fewshot.study.diagnostics import diagnose, excited_slices
from fewshot.study.measurement import Measurement
from fewshot.study.page_tables import measurements_table
from fewshot.study.run import Study
from guided.affine import AFFINE
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.latents import ATTRIBUTE, DEFORMATION, LatentLayout

SHAPE = (1, 16, 16)


def layout_of(**slices):
    """Slices in the roles that their names have among guidances."""
    roles = {name: DEFORMATION if name in AFFINE else ATTRIBUTE for name in slices}
    return LatentLayout(slices, {k: role for k, role in roles.items() if k != "content"})


def linear_encoder(readers, layout):
    """Latent i is the inner product of the pixels with row i of ``readers``."""
    encoder = Encoder(Pixels(SHAPE), layout)
    with torch.no_grad():
        encoder.head.weight.zero_()
        encoder.head.bias.zero_()
        encoder.head.weight[: len(readers)] = readers
    return encoder


def test_probes_find_the_class_where_it_is(make_bank):
    bank = make_bank(6, 40)
    means = torch.stack([bank.images[bank.labels == c].float().mean(0).flatten() for c in range(6)])
    # What tells the classes apart, and six directions with none of it.
    patterns = torch.linalg.svd((means - means.mean(0)) / 255, full_matrices=True).Vh
    layout = layout_of(**{"class": (0, 5)}, content=(5, 11))
    encoder = linear_encoder(torch.cat([patterns[:5], patterns[-6:]]), layout)
    (entry,) = diagnose(encoder, bank, {"class": (0, 5)})
    assert entry["measure"] == "linear probe of class, error in percent"
    assert entry["latents"] == [0, 5]
    assert entry["target"] < 5
    assert entry["other"] > 60, "chance is 83"
    # The same encoder probed at the other place: every encoder is read where it is told to be.
    (other,) = diagnose(encoder, bank, {"class": (5, 11)})
    assert (other["target"], other["other"]) == (entry["other"], entry["target"])


def test_a_latent_that_measures_a_translation():
    """The ink's centre moves with the image; the amount of ink does not."""
    images = torch.zeros(10, 1, 16, 16, dtype=torch.uint8)
    for i in range(10):
        images[i, 0, 5 + i % 3 : 9 + i % 3, 5 + i % 4 : 8 + i % 4] = 255
    bank = ImageBank(images, torch.arange(10) % 2, ("a", "b"))
    x = torch.linspace(-1, 1, 16).repeat(16)
    y = torch.linspace(-1, 1, 16).repeat_interleave(16)
    layout = layout_of(translation_x=(0, 1), content=(1, 3))
    entry, found = diagnose(linear_encoder(torch.stack([x, y, x * 0 + 1]), layout), bank, {})
    assert entry["measure"] == "correlation of a latent with an applied translation_x"
    assert entry["latent"] == "translation_x"
    assert entry["target"] > 0.98
    assert 0 < entry["across_images"] < entry["target"]
    assert entry["other_max"] < 0.3
    assert entry["other"] <= entry["other_max"]
    # Height and ink tell images apart wherever they were shifted to; the place of the ink does not.
    assert found["measure"] == "finding a deformed image among 10, error in percent"
    assert found["deformations"] == ["translation_x"]
    assert found["target"] < found["other"]


def test_each_latent_is_measured_by_its_own_deformation(bank):
    readers = torch.randn(4, 256, generator=torch.Generator().manual_seed(1))
    encoder = linear_encoder(readers, layout_of(scale=(0, 1), rotation=(1, 2), content=(2, 4)))
    measured = diagnose(encoder, bank.rows(torch.arange(6)), {})
    assert [entry.get("latent") for entry in measured] == ["rotation", "scale", None]
    assert measured[2]["deformations"] == ["rotation", "scale"]


def test_what_cannot_be_measured_is_left_out(bank):
    assert diagnose(Encoder(Pixels(SHAPE), None), bank, {"class": (0, 3)}) == [], "no latents"
    alone = linear_encoder(torch.ones(1, 256), layout_of(rotation=(0, 1)))
    assert diagnose(alone, bank, {}) == [], "no other latents"
    readers = torch.randn(4, 256, generator=torch.Generator().manual_seed(1))
    encoder = linear_encoder(readers, layout_of(content=(0, 4)))
    for labels, place in (
        ([0] * 12, (0, 2)),  # one category among the held-out classes
        ([0] * 11 + [1], (0, 2)),  # a category with one image
        ([0, 1] * 6, (0, 4)),  # no latents left to compare with
    ):
        kinds = {"kind": torch.tensor(labels)}
        few = ImageBank(bank.images[:12], torch.arange(12) % 3, ("a", "b", "c"), kinds)
        assert diagnose(encoder, few, {"kind": place}) == []


def test_excited_slices_are_those_named_after_an_attribute(bank):
    layout = layout_of(rotation=(0, 1), **{"class": (1, 3)}, content=(3, 5))
    assert excited_slices(Encoder(Pixels(SHAPE), layout), bank) == {"class": (1, 3)}
    assert excited_slices(Encoder(Pixels(SHAPE), None), bank) == {}
    within_unknown = layout_of(**{"class within group": (0, 2)}, content=(2, 4))
    assert excited_slices(Encoder(Pixels(SHAPE), within_unknown), bank) == {}


def test_a_study_measures_interventions_where_there_is_a_decoder(
    small_configs, write, tmp_path, cache
):
    graph = {"rotation": [], "scale": [], "slant": ["rotation"]}

    def arm(**settings):
        init_args = {"factors": graph, "hidden": 4, **settings}
        return {"guidance": [{"class_path": "CausalMechanisms", "init_args": init_args}]}

    config = small_configs["compare"]
    config["dataset"]["init_args"]["causal"] = True
    alone = arm(factors={name: [] for name in graph}, prior=False) | {"elbo": False}
    causal = arm() | {"latents": ["all", "rotation+slant"]}
    config |= {"arms": {"causal": causal, "labels_alone": alone}, "baseline": None}
    config["pretrain"]["steps"] = 2
    parsed = parse(CompareConfig, [write(config)], "test")
    splits = parsed.dataset(data_root(None)).splits()
    outcome = Study(parsed, splits, tmp_path / "run", say=str).run()
    measured = {}
    for entry in outcome.diagnostics:
        measured.setdefault(entry.arm, []).append(entry.measure)
    followed = [f"rank correlation of a latent with the factor {name}" for name in graph]
    assert set(followed) <= set(measured["labels_alone"]) & set(measured["causal"])
    imagined = [m for m in measured["causal"] if m.startswith("do(")]
    assert imagined == [f"do(rotation): error of {n}, in percent of its range" for n in graph]
    assert not [m for m in measured["labels_alone"] if m.startswith("do(")]
    assert {key.latents for key in outcome.learners} == {"all", "rotation+slant"}
    assert list((tmp_path / "run" / "cells").glob("encoder-causal-*/counterfactuals.png"))


def test_a_latent_that_measures_a_factor():
    """The factor is the amount of ink, seen by latent 0 through an exponential of it."""
    rng = torch.Generator().manual_seed(0)
    ink = torch.rand(200, generator=rng)
    images = (255 * torch.rand(200, 1, 16, 16, generator=rng)).byte()
    images[:, 0, :8] = (255 * ink).byte()[:, None, None]
    known = {"ink": (ink > 0.5).long()}, {"ink": ink.exp()}
    bank = ImageBank(images, torch.arange(200) % 2, ("a", "b"), *known)
    top = torch.zeros(16, 16)
    top[:8] = -1
    readers = torch.stack([top.flatten(), *torch.randn(2, 256, generator=rng)])
    readers[1:].view(2, 16, 16)[:, :8] = 0
    layout = layout_of(ink=(0, 1), content=(1, 3))
    encoder = linear_encoder(readers, layout)
    slices = excited_slices(encoder, bank)
    assert slices == {"ink": (0, 1)}
    followed, probed = diagnose(encoder, bank, slices)
    assert followed["measure"] == "rank correlation of a latent with the factor ink"
    assert followed["target"] > 0.99
    assert followed["other"] <= followed["other_max"] < 0.25
    assert probed["measure"] == "linear probe of ink, error in percent"
    assert probed["target"] < 5
    assert probed["other"] > 30
    # At the other place: the best of the latents there.
    other, _ = diagnose(encoder, bank, {"ink": (1, 3)})
    assert other["target"] == followed["other_max"]
    assert other["other"] == followed["target"]


def test_an_attribute_within_another_is_probed_within_it(make_bank):
    """Each group has two hands of its own; latent 0 tells hands apart, if one knows the group."""
    bank = make_bank(6, 60, noise=5)
    group, hand = bank.labels // 2, bank.labels % 2
    bank = ImageBank(bank.images, bank.labels, bank.class_names, {"group": group, "hand": hand})
    means = torch.stack([bank.images[bank.labels == c].float().mean(0).flatten() for c in range(6)])
    # One direction along which hand 1 lies above hand 0 in each group, at places that overlap.
    steps = (means[1::2] - means[::2]) / 255
    reader = torch.linalg.lstsq(steps, torch.tensor([[5.0], [-5.0], [5.0]])).solution.T
    layout = layout_of(**{"hand within group": (0, 1), "content": (1, 2)})
    encoder = linear_encoder(torch.cat([reader, 0 * reader]), layout)
    slices = excited_slices(encoder, bank)
    assert slices == {"hand within group": (0, 1)}
    (entry,) = diagnose(encoder, bank, slices)
    assert entry["measure"] == "linear probe of hand within group, error in percent"
    assert entry["target"] < 2
    assert entry["other"] == 50
    # A group of too few images is left out; the others' mean remains.
    few = bank.rows(torch.cat([torch.arange(240), torch.tensor([240, 300])]))
    (again,) = diagnose(encoder, few, slices)
    (two,) = diagnose(encoder, bank.rows(torch.arange(240)), slices)
    assert again == two
    assert diagnose(encoder, few.rows(torch.tensor([0, 60, 120, 180])), slices) == []
    (pooled,) = diagnose(encoder, bank, {"hand": (0, 1)})
    assert pooled["target"] > 15, "over all groups, no threshold tells the hands apart"


def test_a_table_has_errors_in_tenths_and_correlations_in_hundredths():
    probe = "linear probe of ink, error in percent"
    entries = [
        Measurement("guided", "rank correlation with ink", "", 0.912, 0.1),
        Measurement("guided", probe, "%", 7.26, 48.0, seed=0),
        Measurement("guided", probe, "%", 8.46, 46.0, seed=1),
    ]
    correlation, error = measurements_table(entries).splitlines()[2:]
    assert correlation.endswith("| guided | 0.91 | 0.10 |")
    assert error.endswith("| guided | 7.9 | 47.0 |")
