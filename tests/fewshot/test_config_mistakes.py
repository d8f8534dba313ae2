"""Mistakes in configurations: one line, which names the file, the key and what is nearest."""

import pytest

from fewshot.config.load import override

LEARNER = "learners.prototypical.learner"
GUIDANCE = "arms.guided.guidance.0"
NUMBER = "expected a whole number"
TWICE = {"class_path": "KnownDeformation", "init_args": {"deformations": ["scale", "scale"]}}


def capacity(**settings):
    return {"class_path": "Capacity", "init_args": settings}


MISTAKES = [
    ("seedz", [1], "seedz: no such key; did you mean seeds?"),
    ("pretrain.step", 3, "pretrain.step: no such key; did you mean pretrain.steps?"),
    ("pretrain.xyz", 3, "pretrain.xyz: no such key; expected one of back"),
    ("arms.vae.guidence", [], "arms.vae.guidence: no such key; did you mean arms.vae.guidance?"),
    ("dataset", ..., "dataset: missing"),
    ("pretrain.steps", "many", f"pretrain.steps: {NUMBER}"),
    ("episodes", 2.5, f"episodes: {NUMBER}, got 2.5"),
    ("episodes", True, f"episodes: {NUMBER}, got true"),
    ("episodes", None, f"episodes: {NUMBER}, got nothing"),
    ("seeds", "0,1", "seeds: expected a list, got 0,1"),
    ("arms", 3, "arms: expected a mapping of keys to values, got 3"),
    ("arms.random.encoder", "randomly", "expected one of pretrained, random, pixels, checkpoint"),
    ("arms.random.encoder", "randomly", "got randomly; did you mean random?"),
    ("arms.random.encoder", {"class_path": "Torchvison"}, "did you mean Torchvision?"),
    ("arms.random.encoder", {"class_path": "Torchvision"}, "encoder.init_args.model: missing"),
    ("dataset.class_path", "Omniglott", "dataset: no class is called 'Omniglott'; did you mean Om"),
    (f"{LEARNER}.class_path", "Proto", f"{LEARNER}: no class is called 'Proto'. Learners: ANIL, "),
    (f"{LEARNER}.class_path", "Glyphs", "no class is called 'Glyphs'"),
    (LEARNER, {}, f"{LEARNER}.class_path: missing: the name of a Learner"),
    (f"{LEARNER}.init_args", {"temperature": "hot"}, "init_args.temperature: expected a number"),
    (f"{GUIDANCE}.class_path", "Guide", f"{GUIDANCE}: no class is"),
    (GUIDANCE, "guided.Guidance", f"{GUIDANCE}: guided.Guidance is not a class that implements"),
    ("pretrain.backbone", "guided.Backbone", "pretrain.backbone: guided.Backbone is not a class"),
    (GUIDANCE, capacity(weight=-1), f"{GUIDANCE}.init_args.weight: expected at least 0, got -1"),
    (GUIDANCE, capacity(nats=float("inf")), f"{GUIDANCE}.init_args.nats: expected a number that"),
    (GUIDANCE, TWICE, f"{GUIDANCE}.init_args.deformations: 'scale' is asked for twice"),
    ("pretrain.kl_weight", -1, "pretrain.kl_weight: expected at least 0, got -1"),
    ("pretrain.augmentation", {"rotation": -1}, "pretrain.augmentation.rotation: expected at le"),
    ("pretrain.learning_rate", float("nan"), "pretrain.learning_rate: expected > 0, got nan"),
    ("pretrain.backbone", {"class_path": "Conv4", "init_args": {"width": 0}}, "width: expected at"),
    ("pretrain", {"kl-weight": 1, "kl_weight": 2}, "pretrain.kl_weight: is given twice, in two sp"),
    ("data_root", "", "data_root: expected a path, got nothing"),
    ("study", "", "study: expected a name"),
    ("imports", [""], "imports: expected a module's name, got ''"),
    ("imports", [".mine"], "imports: expected a module's name, got '.mine'"),
    (f"{GUIDANCE}.init_args.n", 3, f"{GUIDANCE}.init_args.n: no such"),
    (f"{GUIDANCE}.init_args.attributes", ..., f"{GUIDANCE}.init_args.attributes: missing"),
    ("dataset.size", 3, "dataset.size: no such key; expected class_path and init_args"),
    ("dataset.init_args.siz", 3, "init_args.siz: no such key; did you mean dataset.init_args.size"),
    ("imports", ["nowhere"], "imports: no module is called 'nowhere'"),
]


def without(config, key):
    *parents, last = key.split(".")
    for parent in parents:
        config = config[int(parent) if parent.isdigit() else parent]
    del config[last]


@pytest.mark.parametrize(("key", "value", "message"), MISTAKES)
def test_mistakes_name_the_file_and_the_key(fails, write, study, key, value, message):
    without(study, key) if value is ... else override(study, key, value)
    file = write(study)
    line = fails("compare", file)
    assert line.startswith(f"fewshot compare: {file}: ")
    assert message in line


PROTOTYPICAL = {"learner": {"class_path": "Prototypical"}}
IMPOSSIBLE = [
    ("baseline", "nothing", "baseline: no arm is called 'nothing'"),
    ("baseline", ["vae", "nothing"], "baseline: no arm is called 'nothing'"),
    ("arms.vae.baseline", ["random", "x"], "arms.vae.baseline: no arm is called 'x'"),
    ("arms.vae.steps", 0, "arms.vae.steps: expected at least 1, got 0"),
    ("arms.random.steps", 9, "arms.random.steps: a random encoder is not trained here"),
    ("arms.pixels.steps", 9, "arms.pixels.steps: a pixels encoder is not trained here"),
    ("arms.a|b", {}, "arms: expected a name without '|', got 'a|b'"),
    ("arms.a/b", {}, "arms: expected a name without / and \\, got 'a/b'"),
    ("study", "mine/first", "study: expected a name without / and \\, got 'mine/first'"),
    ("learners.a|b", PROTOTYPICAL, "learners: expected a name without '|', got 'a|b'"),
    ("learners", {}, "learners: at least one"),
    ("seeds", [], "seeds: at least one"),
    ("seeds", [0, -1], "seeds.1: expected at least 0, got -1"),
    ("seeds", [1, 1], "seeds: [1, 1] holds one twice"),
    ("settings", [{"n_query": 1}, {"n_query": 2}], "holds one twice"),
    ("settings", [{"n_way": 1}], "settings.0.n_way: expected at least 2"),
    ("episodes", 1, "episodes: expected at least 2"),
    ("learners.prototypical.train", {"steps": 0}, "prototypical.train.steps: expected at least 1"),
    ("arms.vae.augmentation", {"views": 0}, "arms.vae.augmentation.views: expected at least 1"),
    ("pretrain.guidance", ["DeformablePCA"], "pretrain.guidance:"),
    ("arms.random.autoencoder", True, "arms.random.autoencoder: a random encoder is not pretr"),
    ("pretrain.autoencoder", True, "pretrain.autoencoder: belongs to the arms of a study"),
    ("arms.guided.encoder", "pixels", "arms.guided.guidance: a pixels encoder cannot be guided"),
    ("arms.vae.latents", [], "arms.vae.latents: at least one"),
    ("dataset.init_args.size", 1, "dataset.init_args.size: expected at least 8, got 1"),
    ("device", "tpu", "device: expected auto, cpu or cuda"),
]


@pytest.mark.parametrize(("key", "value", "message"), IMPOSSIBLE)
def test_contradictions_are_named_before_anything_is_written(
    fails, write, study, cache, key, value, message
):
    override(study, key, value)
    assert message in fails("compare", write(study))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--pretrain.step=5", "pretrain.step: no such key; did you mean pretrain.steps?"),
        ("--dataset.init_args.siz=5", "dataset.init_args.siz: no such key; did you mean dataset"),
        ("--seed=3", "seed: no such key; did you mean seeds?"),
        ("--base=vae", "base: no such key"),
        ("--seeds=0,1", "seeds: expected a list, got 0,1: write --seeds '[0,1]'"),
        ("--seeds=3", "seeds: expected a list, got 3: write --seeds '[3]'"),
        ("--seeds=[3", "seeds: is not YAML"),
        ("--pretrain.steps=0", "pretrain.steps: expected at least 1, got 0"),
        ("--study.name=x", "study.name: there is only the value tiny, which has no keys"),
        ("--settings.4.n_way=3", "settings.4: expected the position in a list of 1, from 0"),
        ("--drawn", "drawn: expected a value: --drawn VALUE"),
        ("stray", "unexpected argument stray: expected FILE.yaml or --key value"),
        ("-x", "unexpected argument -x"),
    ],
)
def test_mistaken_arguments(fails, write, study, argument, message):
    line = fails("compare", write(study), argument)
    assert line.startswith(f"fewshot compare: {message}")


def test_files_that_are_no_configuration(fails, tmp_path):
    file = tmp_path / "config.yaml"
    for content, line in (
        (b"a: [1", "line 1: "),
        (b"a: 1\n\x00", "line 2: "),
        (b"\xff\xfe\x00", ""),
    ):
        file.write_bytes(content)
        assert f"config.yaml: {line}is not YAML" in fails("compare", str(file))
    for content in (b"- a\n- b\n", b"just words", b""):
        file.write_bytes(content)
        assert "config.yaml: expected a mapping" in fails("compare", str(file))
    assert "nowhere.yaml: cannot be read (No such file" in fails("compare", "nowhere.yaml")
    assert "cannot be read (Is a directory)" in fails("compare", str(tmp_path))


def test_an_argument_is_given_once_and_read_as_a_file_is(fails, write, study):
    file = write(study)
    line = fails("compare", file, "--pretrain.kl-warmup=5", "--pretrain.kl_warmup", "6")
    assert line.startswith("fewshot compare: pretrain.kl_warmup: is given twice")
    for value, message in [
        ("{steps: 3, steps: 4}", "pretrain: key 'steps' stands twice"),
        ("&a {steps: *a}", "pretrain: *a refers to itself"),
        ("{steps: .inf}", "pretrain.steps: expected a whole number, got inf"),
    ]:
        line = fails("compare", file, "--pretrain", value)
        assert line.startswith(f"fewshot compare: {message}")


def test_a_key_of_a_file_stands_once(fails, write, study):
    file = write(study)
    with open(file, "a") as text:
        text.write("episodes: 3\n")
    line = fails("compare", file)
    assert "key 'episodes' stands twice, first in line " in line and line.count("\n") == 1
