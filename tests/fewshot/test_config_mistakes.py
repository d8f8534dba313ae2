"""Mistakes in configurations: one line, which names the file, the key and what is nearest."""

import re

import pytest


def put(config, path, value):
    """Set a nested value; ``...`` takes the key out."""
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
    "unknown key": (("seedz",), [1], "seedz: no such key; did you mean seeds?"),
    "unknown nested key": (("pretrain", "step"), 3, "pretrain.step: no such key; did you mean pre"),
    "far from any key": (("pretrain", "xyz"), 3, "pretrain.xyz: no such key; expected one of back"),
    "unknown key of an arm": (
        ("arms", "vae", "guidence"),
        [],
        "arms.vae.guidence: no such key; did you mean arms.vae.guidance?",
    ),
    "missing key": (("dataset",), ..., "dataset: missing"),
    "mistyped number": (("pretrain", "steps"), "many", "pretrain.steps: expected a whole number"),
    "fraction": (("episodes",), 2.5, "episodes: expected a whole number, got 2.5"),
    "truth for a number": (("episodes",), True, "episodes: expected a whole number, got true"),
    "nothing for a number": (("episodes",), None, "episodes: expected a whole number, got nothing"),
    "no list": (("seeds",), "0,1", "seeds: expected a list, got 0,1: write --seeds '[0,1]'"),
    "no mapping": (("arms",), 3, "arms: expected a mapping of keys to values, got 3"),
    "unknown choice": (
        ("arms", "random", "encoder"),
        "randomly",
        "arms.random.encoder: expected one of pretrained, random, pixels, checkpoint, "
        "got randomly; did you mean random?",
    ),
    "unknown dataset": (
        ("dataset", "class_path"),
        "Omniglott",
        "dataset: no class is called 'Omniglott'; did you mean Omniglot? Datasets: CIFAR_FS, Cel",
    ),
    "unknown learner": (
        (*LEARNER, "class_path"),
        "Proto",
        "learners.prototypical.learner: no class is called 'Proto'. Learners: ANIL, Base",
    ),
    "unknown guidance": ((*GUIDANCE, "class_path"), "Guide", "arms.guided.guidance.0: no class is"),
    "class of another kind": ((*LEARNER, "class_path"), "Glyphs", "no class is called 'Glyphs'"),
    "no class": (LEARNER, {}, "prototypical.learner.class_path: missing: the name of a Learner"),
    "setting beside the class": (
        ("dataset", "size"),
        3,
        "dataset.size: no such key; expected class_path and init_args",
    ),
    "init_arg": (
        ("dataset", "init_args", "siz"),
        3,
        "dataset.init_args.siz: no such key; did you mean dataset.init_args.size?",
    ),
    "init_arg of a guidance": ((*GUIDANCE, "init_args", "n"), 3, "guidance.0.init_args.n: no such"),
    "missing init_arg": (
        (*GUIDANCE, "init_args", "attributes"),
        ...,
        "arms.guided.guidance.0.init_args.attributes: missing",
    ),
    "mistyped init_arg": (
        (*LEARNER, "init_args"),
        {"temperature": "hot"},
        "learners.prototypical.learner.init_args.temperature: expected a number, got hot",
    ),
    "unknown module": (("imports",), ["nowhere"], "imports: no module is called 'nowhere'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_name_the_file_and_the_key(fails, write, study, mistake):
    path, value, message = MISTAKES[mistake]
    study["arms"]["vae"] = {"latents": ["all"]}
    put(study, path, value)
    file = write(study)
    line = fails("compare", file)
    assert line.startswith(f"fewshot compare: {file}: ")
    assert message in line


IMPOSSIBLE = {
    "unknown baseline": (("baseline",), "nothing", "baseline: no arm is called 'nothing'"),
    "no learners": (("learners",), {}, "learners: at least one"),
    "no seeds": (("seeds",), [], "seeds: at least one"),
    "negative seed": (("seeds",), [0, -1], "seeds: expected >= 0, got -1"),
    "a seed twice": (("seeds",), [1, 1], "seeds: .* holds one twice"),
    "a setting twice": (("settings",), [{"n_query": 1}, {"n_query": 2}], "settings: .* one twice"),
    "one-way episodes": (("settings",), [{"n_way": 1}], r"settings\.0\.n_way: expected at least 2"),
    "one episode": (("episodes",), 1, "episodes: expected at least 2"),
    "no steps": (
        ("learners", "prototypical", "train"),
        {"steps": 0},
        r"learners\.prototypical\.train\.steps: expected at least 1, got 0",
    ),
    "no views": (
        ("arms", "vae", "augmentation"),
        {"views": 0},
        r"arms\.vae\.augmentation\.views: expected at least 1, got 0",
    ),
    "guidance for all": (("pretrain", "guidance"), ["DeformablePCA"], r"pretrain\.guidance:"),
    "guided pixels": (("arms", "guided", "encoder"), "pixels", r"arms\.guided\.guidance: .*pixels"),
    "no latents": (("arms", "vae", "latents"), [], r"arms\.vae\.latents: at least one"),
    "impossible dataset": (("dataset", "init_args", "size"), 1, r"Glyphs\.size: expected at"),
    "unknown device": (("device",), "tpu", "device: expected auto, cpu or cuda"),
}


@pytest.mark.parametrize("mistake", IMPOSSIBLE)
def test_contradictions_are_named_before_anything_is_written(fails, write, study, mistake, cache):
    path, value, message = IMPOSSIBLE[mistake]
    study["arms"]["vae"] = {"latents": ["all"]}
    put(study, path, value)
    line = fails("compare", write(study))
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--pretrain.step=5", "pretrain.step: no such key; did you mean pretrain.steps?"),
        ("--dataset.init_args.siz=5", "dataset.init_args.siz: no such key; did you mean dataset"),
        ("--seed=3", "seed: no such key; did you mean seeds?"),
        ("--seeds=0,1", "seeds: expected a list, got 0,1: write --seeds '[0,1]'"),
        ("--seeds=3", "seeds: expected a list, got 3: write --seeds '[3]'"),
        ("--seeds=[3", "seeds: is not YAML"),
        ("--pretrain.steps=x", "pretrain.steps: expected a whole number, got x"),
        ("--pretrain.steps=0", "pretrain.steps: expected at least 1, got 0"),
        ("--study.name=x", "study.name: there is only the value tiny, which has no keys"),
        ("--settings.4.n_way=3", "settings.4: expected the position in a list of 1, from 0"),
        ("--draw", "draw: expected a value: --draw VALUE"),
        ("stray", "unexpected argument stray: expected FILE.yaml or --key value"),
        ("-x", "unexpected argument -x"),
    ],
)
def test_mistaken_arguments(fails, write, study, argument, message):
    line = fails("compare", write(study), argument)
    assert line.startswith(f"fewshot compare: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "config.yaml: is not YAML"),
        (b"\x00", "config.yaml: is not YAML"),
        (b"\xff\xfe\x00", "config.yaml: is not YAML"),
        (b"- a\n- b\n", "config.yaml: expected a mapping"),
        (b"just words", "config.yaml: expected a mapping"),
        (b"", "config.yaml: expected a mapping"),
    ],
)
def test_files_that_are_no_configuration(fails, tmp_path, content, message):
    (tmp_path / "config.yaml").write_bytes(content)
    assert message in fails("compare", str(tmp_path / "config.yaml"))


def test_missing_files(fails, tmp_path):
    assert "nowhere.yaml: cannot be read (No such file" in fails("compare", "nowhere.yaml")
    assert "cannot be read (Is a directory)" in fails("compare", str(tmp_path))
