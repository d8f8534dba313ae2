"""Configurations: one line for every mistake, and back into the plain values they came from."""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from fewshot.cli import main
from fewshot.commands.compare import CompareConfig
from fewshot.commands.data import DataCommand
from fewshot.commands.evaluate import EvaluateCommand
from fewshot.commands.lake import LakeConfig
from fewshot.commands.nica import NicaConfig
from fewshot.commands.pretrain import PretrainCommand
from fewshot.commands.probe import ProbeConfig
from fewshot.commands.train import TrainCommand
from fewshot.config import class_name, describe, load, made_by, parse, write_yaml
from fewshot.config.classes import PACKAGES, find_class
from fewshot.config.description import to_yaml
from fewshot.learners.base import Learner
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.ridge import Ridge
from guided.augment import Augmentation
from guided.backbones import Conv4
from guided.errors import InputError
from guided.likelihoods import Bernoulli, Gaussian
from guided.storage.files import fingerprint
from guided.training.config import PretrainConfig

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/**/*.yaml"))
assert CONFIGS
COMMANDS = (CompareConfig, DataCommand, EvaluateCommand, LakeConfig, PretrainCommand, ProbeConfig)
COMMANDS = {cls.__module__.rpartition(".")[2]: cls for cls in (*COMMANDS, NicaConfig, TrainCommand)}


def command_of(path):
    """The command that has a file's keys."""
    keys = yaml.safe_load(path.read_text()).keys()
    marks = {
        "sources": "nica",
        "latent_dims": "probe",
        "arms": "compare",
        "train": "train",
        "pretrain": "pretrain",
    }
    return next((name for key, name in marks.items() if key in keys), "evaluate")


def parsed(command, *arguments):
    return parse(COMMANDS[command], [str(argument) for argument in arguments], command)


# There and back.


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_written_configuration_is_read_again(tmp_path, path):
    """The run folder's config.yaml spells everything out and means the same cells."""
    first = parsed(command_of(path), path)
    write_yaml(tmp_path / "config.yaml", first)
    second = parsed(command_of(path), tmp_path / "config.yaml")
    assert fingerprint(describe(second)) == fingerprint(describe(first))
    assert describe(second, full=True) == yaml.safe_load((tmp_path / "config.yaml").read_text())


@pytest.mark.parametrize("flag", ["--print_config", "--print-config"])
@pytest.mark.parametrize("place", [0, 1, 2, 4])
@pytest.mark.parametrize("command", ["compare", "lake", "evaluate"])
def test_a_printed_configuration_is_read_again(write, study, capsys, command, flag, place):
    """Classes that nobody chose included; the flag may stand anywhere."""
    config = study if command != "evaluate" else {"dataset": study["dataset"]}
    key = "seeds" if command != "evaluate" else "settings"
    value = "[4, 5]" if command != "evaluate" else "[{n_way: 3}]"
    arguments = [write(config), f"--{key}", value, "--device=cpu"]
    whole = describe(parsed(command, *arguments))
    arguments.insert(place, flag) if place != 2 else arguments.insert(3, flag)
    assert main([command, *arguments]) == 0
    printed = write(capsys.readouterr().out, "printed.yaml")
    assert describe(parsed(command, printed)) == whole


# Descriptions.


def test_a_class_is_described_alike_in_python_and_in_yaml(write):
    ours = {"class_path": "fewshot.learners.Prototypical"}
    ridge = {"class_path": "fewshot.learners.Ridge", "init_args": {"penalty": 2.5}}
    for by_hand, written in (
        (partial(Prototypical), ours),
        (Prototypical, ours),
        (partial(Prototypical, metric="squared_euclidean"), ours),
        (partial(Prototypical, metric="cosine"), ours | {"init_args": {"metric": "cosine"}}),
        (partial(Ridge, penalty=2.5), ridge),
    ):
        file = write({"dataset": {"class_path": "Glyphs"}, "learners": {"x": written}})
        assert describe(by_hand) == describe(parsed("evaluate", file).learners["x"]) == written


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_has_one_path_wherever_it_is_imported_from(package):
    """Re-exports, bare names and modules that define them lead to the same."""
    module, found = import_module(package), 0
    for name in getattr(module, "__all__", vars(module)):
        target = getattr(module, name)
        if not inspect.isclass(target) or not target.__module__.startswith(package):
            continue
        found += 1
        assert class_name(target) == f"{package}.{name}"
        if not inspect.isabstract(target):
            base = next(base for base in target.__mro__ if base is not object)
            for written in (name, f"{package}.{name}", f"{target.__module__}.{name}"):
                assert find_class(written, base) is target
    assert found


def test_defaults_are_omitted_and_spelled_out_in_full():
    assert describe(PretrainConfig()) == {}
    changed = PretrainConfig(
        shuffle=False, augmentation=Augmentation(scale=0.5), backbone=partial(Conv4, width=8)
    )
    assert describe(changed) == {
        "backbone": {"class_path": "guided.backbones.Conv4", "init_args": {"width": 8}},
        "augmentation": {"scale": 0.5},
        "shuffle": False,
    }
    full = describe(changed, full=True)
    assert (full["steps"], full["augmentation"]["rotation"]) == (2000, 0)
    rest = {"downsample": "stride", "decoder_norm": "batch"}
    assert full["backbone"]["init_args"] == {"width": 8, **rest}
    said = PretrainConfig(backbone=Conv4, likelihood=Bernoulli, steps=2000)
    assert describe(said) == {}
    assert describe(partial(Bernoulli)) != describe(partial(Gaussian))


def test_plain_values():
    value = {"a": (1, 2.5, None, True), "b": Path("x/y"), 3: ["z"]}
    assert describe(value) == {"a": [1, 2.5, None, True], "b": "x/y", "3": ["z"]}
    with pytest.raises(TypeError, match=r"cannot describe .*use functools\.partial"):
        describe(lambda encoder: encoder)


# Classes of other packages.


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module beside the configuration, with a learner called like one of ours."""
    (tmp_path / "mine.py").write_text(
        "from fewshot.learners.prototypical import Prototypical as Ours\n"
        "class Prototypical(Ours):\n"
        "    def __init__(self, encoder, *, sharpness: float = 1.0):\n"
        "        super().__init__(encoder)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("mine", None)


@pytest.mark.usefixtures("mine")
def test_a_class_beside_the_configuration(write, tmp_path):
    assert "mine" not in sys.modules
    parsed("data", write({"imports": ["mine"]}))
    assert "mine" in sys.modules
    learners = {
        "ours": {"class_path": "Prototypical"},
        "mine": {"class_path": "mine.Prototypical", "init_args": {"sharpness": 2}},
    }
    config = parsed("evaluate", write({"dataset": "Glyphs", "learners": learners}))
    assert made_by(config.learners["mine"]).__module__ == "mine"
    assert describe(config.learners["mine"])["class_path"] == "mine.Prototypical"
    ours, foreign = (fingerprint(describe(learner)) for learner in config.learners.values())
    assert ours != foreign
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.usefixtures("mine")
def test_a_class_of_the_same_name_is_another_wherever_it_is_written():
    ours, mine = (describe(find_class(n, Learner)) for n in ("Prototypical", "mine.Prototypical"))
    assert fingerprint(ours) != fingerprint(mine)
    written = to_yaml({"ours": Prototypical, "mine": find_class("mine.Prototypical", Learner)})
    assert "class_path: fewshot.learners.Prototypical" in written
    assert "class_path: mine.Prototypical" in written


@pytest.mark.usefixtures("mine")
def test_a_foreign_class_is_known_by_its_code_and_all_that_it_imports(tmp_path):
    """Also inside a function, from a package, and by a relative path; not what is installed."""
    helpers = tmp_path / "helpers"
    helpers.mkdir()
    (helpers / "__init__.py").write_text("")
    (helpers / "one.py").write_text("import yaml\nfrom .two import scale\n")
    (helpers / "two.py").write_text("scale = 2\n")
    (helpers / "idle.py").write_text("never = 'imported'\n")
    with (tmp_path / "mine.py").open("a") as file:
        file.write("        from helpers import one\n        self.scale = one.scale\n")

    def digest():
        for name in [n for n in sys.modules if n.partition(".")[0] in ("mine", "helpers")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return fingerprint(describe(find_class("mine.Prototypical", Learner)))

    first = digest()
    (helpers / "idle.py").write_text("never = 'changed'\n")
    assert digest() == first
    (helpers / "two.py").write_text("scale = 3\n")
    second = digest()
    with (tmp_path / "mine.py").open("a") as file:
        file.write("# a comment\n")
    assert len({first, second, digest()}) == 3


@pytest.mark.usefixtures("mine")
def test_foreign_classes_that_are_not_there():
    for learner, message in (
        ("mine.Proto", "module mine has no class 'Proto'"),
        ("mine.deep.Proto", "no module is called 'mine.deep'"),
        ("yours.Proto", "no module is called 'yours'; searched the installed packages and "),
        ("pathlib.Path", "pathlib.Path is not a class that implements Learner"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            parsed("train", "--dataset", "Glyphs", "--learner", learner)


# Arguments.


def test_arguments_override_the_file(write, study):
    """Dashes in names of one's own are kept."""
    study["arms"]["my-arm"] = {"encoder": "random"}
    arguments = (
        "--pretrain.learning-rate=1e-4 --seeds=[4,5] --dataset.init_args.size=12 --baseline=random "
        "--arms.guided.guidance.0.init_args.excitation=5 --study=7 --arms.my-arm.encoder=pixels "
        "--arms.my-other.encoder random"
    )
    settings = "--settings=[{n_way: 2, n_query: 3}]"
    file = write(study)
    config = parsed("compare", "--pretrain.steps=3", file, settings, *arguments.split())
    assert (config.pretrain.steps, config.pretrain.learning_rate) == (3, 1e-4)
    assert config.pretrain.batch_size == 32, "what is not overridden stays the file's"
    assert config.seeds == [4, 5]
    assert describe(config.settings) == [{"n_way": 2, "n_query": 3}]
    assert [config.arms[name].encoder for name in ("my-arm", "my-other")] == ["pixels", "random"]
    settings = describe(config.dataset)["init_args"]
    assert (settings["size"], settings["n_drawers"]) == (12, 8)
    assert (config.baseline, config.study) == ("random", "7")
    assert describe(config.arms["guided"].guidance)[0]["init_args"]["excitation"] == 5


@pytest.mark.parametrize("key", ["data_root", "data-root"])
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"nica"}))  # it reads no images
def test_both_spellings_and_the_home_folder(write, study, command, key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    content = study if command in ("compare", "lake") else {"dataset": study["dataset"]}
    content |= {"study": "x", "arms": {"vae": {}}} if command == "probe" else {}
    content = {} if command == "data" else content
    config = parsed(command, write(content), f"--{key}", "~/data")
    assert str(config.data_root) == "/home/me/data"


def test_a_class_and_its_settings_by_arguments_alone():
    arguments = ("--dataset", "Glyphs", "--dataset.init-args.n-drawers=12", "--episodes", "7")
    config = parsed("evaluate", *arguments)
    assert describe(config.dataset)["init_args"] == {"n_drawers": 12}
    assert config.episodes == 7
    whole = parsed("evaluate", "--dataset=Glyphs", "--dataset.init_args={n_drawers: 12}")
    assert describe(whole.dataset) == describe(config.dataset)
    # A setting counts wherever it stands.
    later = parsed("evaluate", "--dataset.init-args.n-drawers=12", "--dataset", "Glyphs")
    assert describe(later.dataset) == describe(config.dataset)
    nothing = describe(parsed("evaluate", "--dataset=Glyphs", "--encoder=null"))
    assert nothing == {"dataset": {"class_path": "fewshot.data.Glyphs"}}


def test_overrides_in_python(study):
    config = load(CompareConfig, study, {"pretrain.steps": 5, "seeds": [3]})
    assert (config.pretrain.steps, config.seeds) == (5, [3])
    assert study["pretrain"]["steps"] == 8, "the caller's values stay"


# Types that no command has needed yet.


@dataclass(frozen=True)
class Odd:
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[str, ...] = ()
    either: int | tuple[int, int] = 1
    flag: bool = False


def test_tuples_and_unions():
    built = load(Odd, {"pair": [3, 4], "many": ["a"], "either": [1, 2], "flag": True})
    assert built == Odd((3, 4.0), ("a",), (1, 2), True)
    assert load(Odd, {"either": 3}) == Odd(either=3)
    for wrong, message in (
        ({"pair": [1]}, "pair: expected 2 values, got 1"),
        ({"either": "x"}, "either: expected a list, got x"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
        ({"many": [1]}, "many.0: expected a text, got 1"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            load(Odd, wrong)
