"""One page of the finished study, read as a browser would."""

from dataclasses import replace

import pytest
import yaml

from fewshot.cli import main
from fewshot.study.html.content import Content
from fewshot.study.html.page import write_comparisons


@pytest.fixture(scope="session")
def content(finished):
    return Content.load(finished.folder)


@pytest.fixture
def with_rows(content):
    """The study with other rows."""

    def change(rows):
        return replace(content, result=replace(content.result, rows=tuple(rows)))

    return change


@pytest.fixture
def render(tmp_path, read_page):
    """Write the page of studies and read it."""

    def page(*contents):
        write_comparisons(contents, tmp_path / "report.html")
        return read_page(tmp_path / "report.html")

    return page


@pytest.fixture(scope="session")
def made(tmp_path_factory, shared_cache, tiny):
    """Folders of a run of ``pretrain``, ``train`` and ``evaluate``; nobody may change them."""
    base = tmp_path_factory.mktemp("made")
    dataset, arms = tiny["dataset"], tiny["arms"]
    deforms = {"class_path": "DeformablePCA", "init_args": {"deformations": ["scale"]}}
    guidance = [deforms, *arms["guided"]["guidance"]]
    shape = {"n_way": 3, "n_shot": 1, "n_query": 2}
    train = {"steps": 4, "setting": shape, "validation": shape, "validation_episodes": 3}
    learners = {"cosine": {"metric": "cosine"}, "euclidean": {}}
    configs = {
        "pretrain": {"pretrain": tiny["pretrain"] | {"guidance": guidance}},
        "train": {
            "backbone": {"class_path": "Conv4", "init_args": {"width": 4}},
            "train": train | {"validate_every": 2},
        },
        "evaluate": {
            "encoder": str(base / "pretrain" / "encoder.safetensors"),
            "learners": {
                name: {"class_path": "Prototypical", "init_args": own}
                for name, own in learners.items()
            },
            "settings": [shape, {"n_way": 2, "n_shot": 3, "n_query": 2}],
            "episodes": 12,
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        for name, config in configs.items():
            file = base / f"{name}.yaml"
            file.write_text(yaml.safe_dump({"dataset": dataset, **config}, sort_keys=False))
            assert main([name, str(file), "--output", str(base / name)]) == 0
    return base
