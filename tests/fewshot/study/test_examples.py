"""Examples: chosen by the counts, answered as in the test."""

import numpy as np
import pytest

from fewshot.study import ArmConfig
from fewshot.study.examples import chosen_episodes
from guided.guidance.excitation_inhibition import ExcitationInhibition
from guided.storage.files import read_json


@pytest.fixture
def arms():
    guidance = [ExcitationInhibition(attributes={"class": 4})]
    guided = ArmConfig(guidance=guidance)
    return {"pixels": ArmConfig(encoder="pixels"), "vae": ArmConfig(), "g": guided}


def test_the_hardest_episodes_and_the_largest_disagreements_are_chosen(arms):
    class Config:
        pass

    Config.arms = arms
    wrong = {
        "pixels": np.array([1, 0, 9, 9, 0, 5, 0, 0]),
        "vae": np.array([1, 0, 9, 9, 5, 5, 0, 0]),
        "g": np.array([1, 4, 9, 8, 0, 5, 0, 0]),
    }
    found = dict(chosen_episodes(Config, wrong))
    assert next(iter(found)) == 0
    assert [n for n, why in found.items() if "hardest" in why] == [2, 3, 5]
    assert [n for n, why in found.items() if "fewer" in why] == [4], "3 is shown already"
    assert [n for n, why in found.items() if "more" in why] == [1]
    del wrong["g"]
    assert not [why for _, why in chosen_episodes(Config, wrong) if "guided" in why]


def test_answers_are_those_of_the_test(finished):
    (folder,) = (finished.folder / "cells").glob("examples-*")
    facts = read_json(folder / "cell.json")
    with np.load(folder / "examples.npz") as stored:
        predicted, support = stored["predicted"], stored["support"]
    assert [entry["arm"] for entry in facts["arms"]] == ["guided", "pixels", "random", "vae"]
    assert support.shape == (len(facts["episodes"]), 3, 1, 1, 16, 16)
    for i, episode in enumerate(facts["episodes"]):
        for j, entry in enumerate(facts["arms"]):
            key = "|".join([entry["arm"], entry["learner"], entry["latents"], "3w1s"])
            counted = finished.wrong[key][0][episode["number"]]
            assert episode["wrong"][j] == counted
            assert (predicted[j, i] != np.arange(3)[:, None]).sum() == counted
    keys = [f"{e['arm']}|{e['learner']}|{e['latents']}|3w1s" for e in facts["arms"]]
    mean = np.mean([finished.wrong[key][0] for key in keys], axis=0)
    hardest = [e["number"] for e in facts["episodes"] if "hardest" in e["reason"]]
    shown = {e["number"] for e in facts["episodes"]}
    assert all(mean[n] >= np.delete(mean, [*shown]).max() for n in hardest)


def test_confused_pairs_are_counted_over_all_arms(finished):
    (folder,) = (finished.folder / "cells").glob("examples-*")
    facts = read_json(folder / "cell.json")
    totals = [sum(pair["counts"].values()) for pair in facts["confused"]]
    assert totals == sorted(totals, reverse=True) and len(totals) == 6
    assert all(pair["true"] != pair["predicted"] for pair in facts["confused"])
    wrong = [finished.wrong[f"{e['arm']}|{e['learner']}|all|3w1s"][0] for e in facts["arms"]]
    assert sum(totals) <= sum(int(counts.sum()) for counts in wrong)
    with np.load(folder / "examples.npz") as stored:
        assert len(stored["pictured"]) == len(facts["classes"])
