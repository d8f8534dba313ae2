"""README and docs are true: examples run, links lead somewhere, figures are the published ones."""

import contextlib
import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import fewshot
import fewshot.learners
import guided
from fewshot.cli import main
from fewshot.config import load
from fewshot.study.config import StudyConfig

ROOT = Path(__file__).parent.parent
PUBLISHED = ROOT / "runs" / "published"
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    *sorted(ROOT.glob("docs/**/*.md")),
]
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = ("A guidance", "A learner", "A dataset", "A backbone", "A training")
NAMES = {path: str(path.relative_to(ROOT)) for path in PAGES}


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, outside everything else."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def section(title: str) -> str:
    """The text of one section of docs/extending.md."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", EXTENDING, re.S | re.M).group(1)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands() -> list[str]:
    """Every ``fewshot`` command with arguments that a page shows in a block."""
    lines = [
        line.partition("#")[0].removeprefix("uv run ").strip()
        for page in PAGES
        for block in blocks(page.read_text(), "bash")
        for line in block.replace("pip install uv && ", "").splitlines()
    ]
    return sorted({line for line in lines if line.startswith("fewshot ")})


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Working directory with mine.py, which holds the classes of docs/extending.md."""
    path = tmp_path_factory.mktemp("extending")
    classes = [block for title in SECTIONS for block in blocks(section(title), "python")]
    (path / "mine.py").write_text("\n".join(classes))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("FEWSHOT_CACHE", str(path / "cache"))
        patch.syspath_prepend(str(path))
        yield path
    sys.modules.pop("mine", None)


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 140


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_files_that_are_named_exist(page):
    folders = "configs|benchmarks|examples|runs/published|guided|fewshot|tools|docs|tests"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text())
    named += re.findall(r"\b((?:configs|benchmarks)/[\w./-]+\.(?:yaml|py))", page.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not [name for name in missing if "NAME" not in name]


@pytest.mark.parametrize("command", commands())
def test_commands_are_accepted(command, folder, capsys):
    """The command parses, with every key that it names; nothing is run."""
    name, *arguments = shlex.split(command)[1:]
    if name in ("--version", "data", "doctor"):
        assert main([name, "--help"][: 1 + (name != "--version")]) == 0
        return
    arguments = [str(ROOT / a) if a.startswith("configs/") else a for a in arguments]
    with contextlib.suppress(SystemExit):
        assert main([name, *arguments, "--print-config"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    assert {"dataset", "mixing", "results", "replay", "runs", "published"} & set(
        yaml.safe_load(printed.out)
    )


def test_no_remembered_figure():
    for page in PAGES:
        tables = [line for line in page.read_text().splitlines() if line.startswith("|")]
        assert not [line for line in tables if "remember" in line or "\\*" in line], page
    for file in ROOT.glob("configs/**/*.yaml"):
        published = yaml.safe_load(file.read_text()).get("published", {})
        assert "*" not in json.dumps(published), file


def test_differences_in_sentences_are_those_of_the_tables():
    """What README.md and these pages say stands in the generated tables."""
    names = (
        *("omniglot", "without-labels", "learned-deformations", "mini-imagenet", "meta-training"),
        *("neural-statistician", "lake"),
    )
    pages = [(ROOT / f"docs/results/{name}.md").read_text() for name in names]
    lines = "\n".join(pages).splitlines()
    tables = "\n".join(line for line in lines if line.startswith("|"))
    said = []
    for text in (README.read_text(), *pages):
        sentences = " ".join(line for line in text.splitlines() if not line.startswith("|"))
        said += re.findall(r"[+-]\d+\.\d \([+-]\d+\.\d … [+-]\d+\.\d\)", sentences)
    assert len(said) > 20
    assert [difference for difference in said if difference not in tables] == []


@pytest.mark.parametrize("kind", ["pretraining", "meta-training"])
def test_what_was_tried_is_counted(kind):
    with (PUBLISHED / "omniglot_label_free_tried.csv").open() as file:
        tried = sum(row["stage"] == kind for row in csv.DictReader(file))
    assert f"{tried} " in re.search(
        rf"(\d+ )(?:configurations )?of {kind}",
        (ROOT / "docs/results/without-labels.md").read_text(),
    ).group(1)


def test_tried_files_are_tables():
    for file in PUBLISHED.glob("*_tried.csv"):
        with file.open() as lines:
            rows = list(csv.reader(lines))
        assert len(rows) > 3
        assert {len(row) for row in rows} == {len(rows[0])}, file


def test_learners_table_is_true():
    text = (ROOT / "docs" / "learners.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.M)
    found = [row for row in rows if len(row) == 4 and row[3] in ("optional", "required")]
    assert len(found) == 17
    for name, transductive, _, trained in found:
        learner = getattr(fewshot.learners, name)
        assert (transductive == "**yes**") == learner.transductive, name
        assert (trained == "required") == learner.needs_training, name


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == guided.__version__
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()


def test_python_example_runs(tmp_path, monkeypatch, capsys):
    """The README's code as it stands, with fewer steps and episodes."""
    (code,) = blocks(README.read_text(), "python")
    assert "steps=300" in code
    assert "episodes=1000" in code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "cache"))
    exec(code.replace("steps=300", "steps=3").replace("episodes=1000", "episodes=20"), {})
    assert re.search(r"^\d+\.\d % ± \d+\.\d over 20 episodes$", capsys.readouterr().out, re.M)
    assert guided.Encoder.load(tmp_path / "encoder.safetensors").out_dim == 64


def extended(title: str) -> dict:
    """The page's study with a section's additions, at a size for a test."""
    study = yaml.safe_load(blocks(section("The study"), "yaml")[0])
    for key, value in yaml.safe_load(blocks(section(title), "yaml")[0]).items():
        study[key] = {**study[key], **value} if key != "dataset" else value
    study["pretrain"] |= {"steps": 4, "validate_every": 2, "kl_warmup": 2, "batch_size": 32}
    return study | {"episodes": 10, "selection_episodes": 5}


@pytest.mark.parametrize("title", SECTIONS)
def test_own_class_is_used_by_a_study(title, folder):
    config = folder / f"{title}.yaml"
    config.write_text(yaml.safe_dump(extended(title)))
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["compare", str(config), "--output", str(folder / title)]) == 0
    rows = json.loads((folder / title / "results.json").read_text())["rows"]
    names = {"A guidance": "ink", "A learner": "median_trained", "A training": "varying"}
    new = names.get(title, "vae")
    assert [row for row in rows if new in (row["arm"], row["learner"]) and 0 < row["error"] < 100]
    asked = [pair["question"] for row in rows if row["arm"] == "centres" for pair in row["pairs"]]
    if title == "A guidance":
        assert asked == ["labels and guidance together", "guidance beyond labels"]


def test_own_classes_are_trained_saved_and_loaded_by_evaluate(folder, capsys):
    """The page's program, then its encoder file in another process."""
    (code,) = blocks(section("In Python"), "python")
    assert "steps=200" in code
    variables = {}
    exec(code.replace("steps=200", "steps=4"), variables)
    assert "over 100 episodes" in capsys.readouterr().out
    loaded, trained = variables["encoder"], variables["trained"].encoder
    images = variables["splits"].test.images
    torch.testing.assert_close(loaded(images), trained.eval()(images))
    file = folder / "own.safetensors"

    def evaluate(*imports: str) -> subprocess.CompletedProcess:
        program = "import sys; from fewshot.cli import main; sys.exit(main())"
        arguments = ["evaluate", *imports, "--dataset", "Glyphs", "--dataset.init_args.size", "16"]
        arguments += ["--encoder", str(file), "--episodes", "5", "--output", str(folder / "own")]
        done = [sys.executable, "-c", program, *arguments]
        return subprocess.run(done, capture_output=True, text=True, check=False)

    refused, accepted = evaluate(), evaluate("--imports", "[mine]")
    assert refused.returncode == 2
    assert "mine.TwoLayers" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert accepted.returncode == 0, accepted.stderr
    assert "error" in accepted.stdout


def test_configurations_of_own_data_are_accepted():
    """The studies of docs/data.md: of embeddings, and with networks from elsewhere."""
    page = (ROOT / "docs" / "data.md").read_text().partition("\n## Embeddings\n")[2]
    study, arms, *_ = (yaml.safe_load(block) for block in blocks(page, "yaml"))
    for config in (
        study,
        study | arms | {"baseline": "pixels", "learners": {"a": {"learner": "Ridge"}}},
    ):
        load(StudyConfig, config)


def test_fragments_run(folder, tmp_path, monkeypatch):
    """The short pieces of Python in docs/data.md and docs/learners.md."""
    pattern = torch.arange(24 * 24).reshape(24, 24).to(torch.uint8).numpy()
    for name in map(str, range(12)):
        (tmp_path / "my_images" / name).mkdir(parents=True)
        Image.fromarray(pattern + int(name)).save(tmp_path / "my_images" / name / "1.png")
    monkeypatch.chdir(tmp_path)
    images, embeddings = blocks((ROOT / "docs" / "data.md").read_text(), "python")
    variables = {"fewshot": fewshot}
    exec(images, variables)
    assert variables["splits"].train.images.shape[1:] == (3, 32, 32)
    exec(embeddings, variables | {"features": torch.randn(96, 4), "labels": [*range(6)] * 16})

    splits = fewshot.data.Glyphs("data", size=16).splits()
    encoder = guided.Encoder(guided.Conv4(splits.train.image_shape, width=4), None)
    (code,) = blocks((ROOT / "docs" / "learners.md").read_text(), "python")
    code = code.replace("steps=300", "steps=2").replace("episodes=1000", "episodes=20")
    variables = {"fewshot": fewshot, "splits": splits, "encoder": encoder}
    exec(code, variables)
    assert len(variables["result"].errors) == 20
    assert (tmp_path / "deformations.safetensors").exists()
