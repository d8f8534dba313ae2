"""Costs of matching, which no encoder changes, are computed once for a study."""

import pytest
import yaml

from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.learners import DeformationMatching
from fewshot.study import Study
from fewshot.study.learner_config import LearnerConfig
from guided.storage.files import read_arrays

LEARNERS = """
alone: {learner: {class_path: DeformationMatching, init_args: {cosine: false}}}
both: {learner: {class_path: DeformationMatching}, choose: {weight: [0.5, 4]}}
relative: {learner: {class_path: DeformationMatching, init_args: {relative: true, weight: 1}}}
wider: {learner: {class_path: DeformationMatching, init_args: {window: 1}}}
smooth: {learner: {class_path: FreeFormMatching, init_args: {weight: 3}}}
"""


@pytest.fixture
def planned(study, cache, tmp_path):
    study["arms"] = {"random": {"encoder": "random"}, "pixels": {"encoder": "pixels"}}
    study |= {"baseline": "random", "learners": yaml.safe_load(LEARNERS), "episodes": 6}
    study["settings"] = [{"n_way": n, "n_shot": 2, "n_query": 3} for n in (3, 4)]
    config = load(CompareConfig, study)
    return Study(config, config.dataset(None).splits(), tmp_path / "run", say=lambda _: None)


def test_all_arms_and_seeds_share_them_and_answer_as_without(planned):
    outcome = planned.run()
    cells = [task.cell for task in planned.cells.tasks.values()]
    costs = [cell for cell in cells if cell.depends["cell"] == "costs"]
    # Of three ways to match, in two settings; and of the one whose weight is chosen.
    assert len(costs) == 3 * 2 + 1
    assert len({cell.folder for cell in costs}) == len(costs)
    some = 0
    for key, cell in outcome.tested.items():
        assert sum(name.startswith("costs") for name in cell.depends) == 2
        stored = read_arrays(cell.folder / "wrong.npz")
        found = planned.examiner.count(outcome.learners[key], planned.config.settings)
        for setting, wrong in found.items():
            assert stored[setting.label].tolist() == wrong.tolist(), key
            some += wrong.sum()
    assert some, "no answer is wrong: nothing was compared"


class Mine(DeformationMatching):
    def logits(self, episodes):
        return -super().logits(episodes)


@pytest.mark.parametrize(
    ("learner", "choose"),
    [
        ({"class_path": "Prototypical"}, {}),
        ({"class_path": "DeformationMatching", "init_args": {"maps": 0.5}}, {}),
        ({"class_path": "DeformationMatching"}, {"window": [1, 2]}),
        ({"class_path": f"{__name__}.Mine"}, {}),
    ],
)
def test_costs_that_depend_on_more_are_not_shared(planned, learner, choose):
    config = load(LearnerConfig, {"learner": learner, "choose": choose})
    examiner = planned.examiner
    args = planned.splits.validation, examiner.judge, examiner.selection_seed, 5
    assert examiner.costs.cell(config, None, *args) is None


def test_another_list_of_episodes_has_other_costs(planned):
    config = planned.config.learners["alone"]
    examiner, bank = planned.examiner, planned.splits.validation
    cells = [
        examiner.costs.cell(config, None, bank, examiner.judge, seed, episodes)
        for seed, episodes in ((1, 5), (1, 5), (2, 5), (1, 6))
    ]
    assert len({cell.digest for cell in cells}) == 3
