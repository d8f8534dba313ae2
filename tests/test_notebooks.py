"""Notebooks run from top to bottom as they stand, at a small size, and show what they promise."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
SMALL = """
dataset = partial(
    fewshot.data.Glyphs, n_alphabets=4, n_characters=5, validation_alphabets=1, test_alphabets=1,
    factor_bins=2,
)
steps, episodes, seeds = 6, 8, [0]
"""


@pytest.mark.parametrize("file", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda f: f.stem)
def test_is_stored_without_outputs_and_links_lead_somewhere(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and not cell.get("execution_count")
        for target in re.findall(r"\]\(([^)\s]+)\)", cell.source):
            assert (file.parent / target).exists(), target


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The tour after it ran: last line of a code cell -> its outputs."""
    notebook = nbformat.read(ROOT / "notebooks" / "tour.ipynb", as_version=4)
    (settings,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    settings.source = SMALL
    base = tmp_path_factory.mktemp("tour")
    (base / "notebooks").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_CACHE", str(base / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("IPYTHONDIR", str(base / "ipython"))
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        where = {"metadata": {"path": str(base / "notebooks")}}
        NotebookClient(notebook, timeout=300, resources=where).execute()
    assert (base / "runs" / "tour" / "report.html").exists()
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.source.splitlines()[-1]: cell.outputs for cell in ran}


def html(outputs):
    return next(out.data["text/html"] for out in outputs if "text/html" in out.get("data", {}))


def test_objects_show_themselves(tour):
    assert "test: 5 classes, 100 images of 1 × 28 × 28" in html(tour["splits"])
    assert "kept step 6, whose held-out negative ELBO" in html(tour["trained"])
    assert re.search(r"<b>\d+\.\d % error</b> ± \d+\.\d over 8 episodes", html(tour["result"]))
    assert "3 arms × 1 seed × 1 learner × 2 settings of Glyphs" in html(tour["study"])
    assert "<b>guided</b> beside <b>classifier</b>" in html(tour["compared"])
    assert "srcdoc=" in html(tour["compared.report"])


def test_pictures_and_progress_are_those_of_a_notebook(tour):
    outputs = [out for cell in tour.values() for out in cell]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 2
    assert any(WIDGET in out.get("data", {}) for out in tour["trained"])
    streams = [out for out in outputs if out.output_type == "stream"]
    assert {out.name for out in streams} == {"stdout"}
    assert "guided, seed 0: 3 steps" in "".join(out.text for out in streams)
