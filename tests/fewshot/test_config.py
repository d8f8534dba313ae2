"""Configurations: one line for every mistake, and back into the plain values they came from."""

import re
from functools import partial
from pathlib import Path

import pytest
import yaml

from fewshot.cli import main
from fewshot.commands.common import parse_command
from fewshot.commands.compare import CompareConfig
from fewshot.commands.evaluate import EvaluateCommand
from fewshot.commands.pretrain import PretrainCommand
from fewshot.commands.probe import ProbeConfig
from fewshot.commands.train import TrainCommand
from fewshot.config import describe, write_yaml
from fewshot.learners.prototypical import Prototypical
from fewshot.learners.ridge import Ridge
from fewshot.study.cells import Cell
from guided.backbones import Conv4
from guided.errors import InputError
from guided.likelihoods import Bernoulli, Gaussian
from guided.training.pretrain import PretrainConfig

CONFIGS = sorted(Path(__file__).parents[2].glob("configs/**/*.yaml"))
COMMANDS = {
    "compare": CompareConfig,
    "train": TrainCommand,
    "pretrain": PretrainCommand,
    "evaluate": EvaluateCommand,
    "probe": ProbeConfig,
}


def command_of(path):
    """What a file is for is told by its keys."""
    keys = yaml.safe_load(path.read_text()).keys()
    marks = {"latent_dims": "probe", "arms": "compare", "train": "train", "pretrain": "pretrain"}
    return next((name for key, name in marks.items() if key in keys), "evaluate")


def parsed(command, *arguments):
    return parse_command(COMMANDS[command], [str(argument) for argument in arguments], command)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_published_configuration_parses(path):
    assert describe(parsed(command_of(path), path))


def test_there_are_published_configurations():
    assert CONFIGS


def test_what_is_printed_is_read_again(tmp_path, write, study, capsys):
    """Classes that nobody chose included."""
    with pytest.raises(SystemExit) as exit:
        main(["compare", write(study), "--seeds", "[4, 5]", "--print_config"])
    assert exit.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    found = parsed("compare", tmp_path / "printed.yaml")
    assert describe(found) == describe(parsed("compare", write(study), "--seeds", "[4, 5]"))
    assert describe(found.pretrain.likelihood)["class_path"] == "Bernoulli"
    assert found.seeds == [4, 5]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_written_is_read_again(tmp_path, path):
    """The run folder's config.yaml means the same: it finds the same cells."""
    first = parsed(command_of(path), path)
    write_yaml(tmp_path / "config.yaml", first)
    second = parsed(command_of(path), tmp_path / "config.yaml")
    assert describe(second) == describe(first)
    assert Cell.find(tmp_path, "x", describe(first)) == Cell.find(tmp_path, "x", describe(second))


@pytest.mark.parametrize("command", ["pretrain", "train", "evaluate"])
def test_defaults_are_written_and_read_again(tmp_path, command):
    first = parsed(command, "--dataset", "Glyphs")
    write_yaml(tmp_path / "config.yaml", first)
    assert describe(parsed(command, tmp_path / "config.yaml")) == describe(first)


@pytest.mark.parametrize(
    ("by_hand", "written"),
    [
        (partial(Prototypical), {"class_path": "Prototypical"}),
        (Prototypical, {"class_path": "Prototypical"}),
        (
            partial(Prototypical, metric="cosine"),
            {"class_path": "Prototypical", "init_args": {"metric": "cosine"}},
        ),
        (partial(Ridge, penalty=2.5), {"class_path": "Ridge", "init_args": {"penalty": 2.5}}),
    ],
)
def test_a_class_is_described_alike_in_python_and_in_yaml(write, by_hand, written):
    file = write({"dataset": {"class_path": "Glyphs"}, "learners": {"x": written}})
    from_yaml = describe(parsed("evaluate", file).learners["x"])
    assert describe(by_hand) == from_yaml
    assert from_yaml["init_args"].items() >= written.get("init_args", {}).items()


def test_a_default_is_described_like_the_same_thing_said(write):
    said = {"backbone": {"class_path": "Conv4"}, "likelihood": {"class_path": "Bernoulli"}}
    file = write({"dataset": {"class_path": "Glyphs"}, "pretrain": said})
    assert describe(parsed("pretrain", file).pretrain) == describe(PretrainConfig())


def test_what_differs_is_described_differently():
    assert describe(partial(Conv4, width=8)) != describe(partial(Conv4))
    assert describe(partial(Bernoulli)) != describe(partial(Gaussian))
    assert describe(partial(Gaussian, scale=0.2)) != describe(partial(Gaussian, scale=0.1))


def test_an_option_that_came_later_is_described_only_where_it_is_used():
    """Else every result from before it would be computed again."""
    assert "shuffle" not in describe(PretrainConfig())
    assert describe(PretrainConfig(shuffle=False))["shuffle"] is False
    assert describe(PretrainConfig(shuffle=False)).keys() - describe(PretrainConfig()).keys() == {
        "shuffle"
    }


def test_plain_values():
    value = {"a": (1, 2.5, None, True), "b": Path("x/y"), 3: ["z"]}
    assert describe(value) == {"a": [1, 2.5, None, True], "b": "x/y", "3": ["z"]}


def test_what_cannot_be_described_is_refused():
    with pytest.raises(TypeError, match=r"cannot describe .*use functools\.partial"):
        describe(lambda encoder: encoder)


def test_arguments_override_the_file(write, study):
    file = write(study)
    config = parsed(
        "compare",
        file,
        "--pretrain.steps=3",
        "--seeds=[4,5]",
        "--settings=[{n_way: 2, n_query: 3}]",
        "--dataset.init_args.size=12",
        "--baseline=random",
    )
    assert config.pretrain.steps == 3
    assert config.pretrain.batch_size == 32, "what is not overridden stays the file's"
    assert config.seeds == [4, 5]
    assert describe(config.settings) == [{"n_way": 2, "n_shot": 1, "n_query": 3}]
    assert describe(config.dataset)["init_args"]["size"] == 12
    assert describe(config.dataset)["init_args"]["n_drawers"] == 8
    assert config.baseline == "random"


def test_arguments_alone_are_enough():
    config = parsed("evaluate", "--dataset", "Glyphs", "--episodes", "7")
    assert config.episodes == 7


def put(config, path, value):
    """Set a nested value; a key ``-name`` takes the key out."""
    *parents, last = path
    for key in parents:
        config = config[key]
    if value is ...:
        del config[last]
    else:
        config[last] = value


LEARNER = ("learners", "prototypical", "learner")
GUIDANCE = ("arms", "guided", "guidance", 0)

MISTAKES = {
    "unknown key": (("seedz",), [1], "Option 'seedz' is not accepted"),
    "unknown nested key": (("pretrain", "stepz"), 3, "'pretrain' does not accept option 'stepz'"),
    "unknown key of an arm": (("arms", "vae", "latent"), ["all"], "arms: Option 'latent' is not"),
    "missing key": (("dataset",), ..., "required: dataset"),
    "mistyped number": (("pretrain", "steps"), "many", "pretrain.steps: expected int, got many"),
    "fraction for a whole number": (("episodes",), 2.5, "episodes: expected int, got 2.5"),
    "mistyped list": (("seeds",), 3, "seeds: expected list, got 3"),
    "unknown choice": (
        ("arms", "random", "encoder"),
        "randomly",
        "encoder: expected .*, got randomly",
    ),
    "unknown dataset": (("dataset", "class_path"), "Glyphz", "dataset: no class .* 'Glyphz'"),
    "unknown learner": ((*LEARNER, "class_path"), "Proto", "learner: no class is called 'Proto'"),
    "unknown guidance": ((*GUIDANCE, "class_path"), "Guide", "guidance: no class .* 'Guide'"),
    "unknown backbone": (("pretrain", "backbone", "class_path"), "Conv5", "backbone: .* 'Conv5'"),
    "class of another kind": ((*LEARNER, "class_path"), "Glyphs", "learner: .* 'Glyphs'"),
    "init_arg of a dataset": (("dataset", "init_args", "n"), 3, "dataset: Option 'n' is not acc"),
    "init_arg of a learner": ((*LEARNER, "init_args"), {"n": 1}, "learner: Option 'n' is not"),
    "init_arg of a guidance": ((*GUIDANCE, "init_args", "n"), 3, "guidance: Option 'n' is not"),
    "mistyped init_arg": ((*LEARNER, "init_args"), {"temperature": "hot"}, "temperature: .*hot"),
    "unknown baseline": (("baseline",), "nothing", "baseline: no arm is called 'nothing'"),
    "no learners": (("learners",), {}, "learners: at least one"),
    "no seeds": (("seeds",), [], "seeds: at least one"),
    "negative seed": (("seeds",), [0, -1], "seeds: expected >= 0, got -1"),
    "a seed twice": (("seeds",), [1, 1], "seeds: .* holds one twice"),
    "a setting twice": (("settings",), [{"n_query": 1}, {"n_query": 2}], "settings: .* one twice"),
    "one-way episodes": (("settings",), [{"n_way": 1}], "n_way: expected at least 2"),
    "one episode": (("episodes",), 1, "episodes: expected at least 2"),
    "guidance for all": (("pretrain", "guidance"), [{"class_path": "DeformablePCA"}], "guidance:"),
    "guided pixels": (("arms", "guided", "encoder"), "pixels", "guidance: .*pixels"),
    "no latents": (("arms", "vae", "latents"), [], "latents: at least one"),
    "impossible dataset": (("dataset", "init_args", "size"), 1, r"Glyphs\.size: expected 8"),
    "unknown device": (("device",), "tpu", "device: expected auto, cpu or cuda"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_before_anything_is_written(fails, write, study, mistake, cache):
    path, value, message = MISTAKES[mistake]
    study["arms"]["vae"] = {"latents": ["all"]}
    put(study, path, value)
    line = fails("compare", write(study))
    assert re.search(message, line), line
    assert not re.search(r"Namespace|collections\.abc|<class", line), line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "config.yaml: is not YAML"),
        ("\x00", "config.yaml: is not YAML"),
        ("- a\n- b\n", "config.yaml: expected a mapping"),
        ("just words", "config.yaml: expected a mapping"),
        ("", "config.yaml: expected a mapping"),
    ],
)
def test_files_that_are_no_configuration(fails, write, content, message):
    assert message in fails("compare", write(content))


def test_bytes_that_are_no_text(fails, tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "config.yaml: is not YAML" in fails("compare", str(tmp_path / "config.yaml"))


def test_missing_files(fails, tmp_path):
    assert "nowhere.yaml: cannot be read (No such file" in fails("compare", "nowhere.yaml")
    assert "cannot be read (Is a directory)" in fails("compare", str(tmp_path))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--pretrain.stepz=3", "pretrain.stepz"),
        ("--pretrain.steps=x", "pretrain.steps: expected int"),
        ("--pretrain.steps=0", "steps: expected at least 1, got 0"),
        ("stray", "unrecognized arguments: stray"),
    ],
)
def test_mistaken_arguments(fails, write, study, argument, message):
    assert message in fails("compare", write(study), argument)


def test_impossible_evaluations():
    with pytest.raises(InputError, match="episodes: expected at least 1"):
        EvaluateCommand(partial(Prototypical), episodes=0)
    with pytest.raises(InputError, match="learners: at least one"):
        EvaluateCommand(partial(Prototypical), learners={})
