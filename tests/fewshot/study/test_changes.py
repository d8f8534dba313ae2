"""A changed study: what is computed again, and what is found."""

import shutil
from dataclasses import replace

import pytest

from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.data.bank import ImageBank
from fewshot.data.dataset import Splits
from fewshot.study import Study

pytestmark = pytest.mark.usefixtures("cache")


def run_study(config, folder, splits=None):
    return Study(config, splits or config.dataset(None).splits(), folder, say=str).run()


@pytest.fixture(scope="module")
def shallow_cells(parsed, splits, patch_training, tmp_path_factory):
    """The cells of the unchanged study."""
    folder = tmp_path_factory.mktemp("shallow")
    with pytest.MonkeyPatch.context() as patch:
        trained = patch_training(patch)
        run_study(parsed, folder, splits)
    assert len(trained) == 4 + 8
    return folder


@pytest.fixture
def rerun(finished, shallow, shallow_cells, tmp_path):
    """Run the study after a change, where the unchanged one ran; returns what was trained."""

    def run(changes, splits=None):
        folder = tmp_path / "run"
        folder.exists() or shutil.copytree(shallow_cells, folder)
        shallow.clear()
        run_study(load(CompareConfig, finished.config, changes), folder, splits)
        return set(shallow)

    return run


def both(*texts):
    return {text.format(seed) for text in texts for seed in (0, 1)}


VAE, GUIDED = both("pretrain vae, seed {}"), both("pretrain guided, seed {}")
TRAINED = {arm: both(f"train trained on {arm}, seed {{}}") for arm in ("random", "vae", "guided")}
OF_PRETRAINED = TRAINED["vae"] | TRAINED["guided"]
ALL = VAE | GUIDED | OF_PRETRAINED | TRAINED["random"]
RIDGE = {"class_path": "Ridge"}
OTHER_ARM = {"guidance": [{"class_path": "DeformablePCA", "init_args": {}}]}

CHANGES = [
    ("study", "other", set()),
    ("episodes", 25, set()),
    ("baseline", "random", set()),
    ("settings.1.n_query", 3, set()),
    ("learners.ridge", {"learner": RIDGE}, set()),
    ("arms.vae.latents", ["all", "features"], TRAINED["vae"]),
    ("arms.guided.guidance.0.init_args.excitation", 11, GUIDED | TRAINED["guided"]),
    ("arms.other", OTHER_ARM, both("pretrain other, seed {}", "train trained on other, seed {}")),
    ("seeds", [0, 1, 2], {text.replace("seed 0", "seed 2") for text in ALL if "seed 0" in text}),
    ("learners.trained.train.steps", 4, OF_PRETRAINED | TRAINED["random"]),
    # What selects a state of the pretraining.
    ("settings.0.n_query", 3, VAE | GUIDED | OF_PRETRAINED),
    ("learners.prototypical.learner", RIDGE, VAE | GUIDED | OF_PRETRAINED),
    ("select_by", "negative_elbo", {f"{t}, by ELBO" for t in VAE | GUIDED} | OF_PRETRAINED),
    ("precision", "bfloat16", ALL),
    ("pretrain.steps", 9, ALL),
    ("dataset.init_args.seed", 1, ALL),
]


@pytest.mark.parametrize(("key", "value", "expected"), CHANGES, ids=[key for key, *_ in CHANGES])
def test_a_change_retrains_what_depends_on_it_and_nothing_else(rerun, key, value, expected):
    assert rerun({key: value}) == expected


def test_an_arms_own_augmentation_is_as_good_as_the_studys(rerun):
    own = {"rotation": 5}
    assert rerun({"arms.vae.augmentation": own}) == VAE | TRAINED["vae"]
    assert rerun({"pretrain.augmentation": own}) == ALL - VAE - TRAINED["vae"]


def test_other_images_under_the_same_name_are_noticed(rerun, splits):
    """A file was replaced: the configuration is the same, one pixel of one test image is not."""
    images = splits.test.images.clone()
    images[3, 0, 2, 2] ^= 1
    test = ImageBank(images, splits.test.labels, splits.test.class_names)
    assert rerun({}, Splits(splits.train, splits.validation, test)) >= VAE


def labelled_anew(test):
    return {"attributes": {**test.attributes, "alphabet": test.attributes["alphabet"] + 1}}


def factor_behind_its_bins(test):
    """An attribute bins the factor, and has its name; the bins stay."""
    bins = {"attributes": {**test.attributes, "slant": test.labels}}
    return [bins | {"factors": {"slant": test.labels + shift}} for shift in (0.0, 0.1)]


@pytest.mark.parametrize("change", [labelled_anew, factor_behind_its_bins])
def test_other_labels_behind_the_same_images_are_noticed(rerun, splits, change):
    changed = change(splits.test)
    if isinstance(changed, dict):
        changed = [{}, changed]
    for number, values in enumerate(changed):
        trained = rerun({}, replace(splits, test=replace(splits.test, **values)))
        if number:
            assert trained >= VAE
