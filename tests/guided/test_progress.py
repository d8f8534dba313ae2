"""Progress bars on a terminal of a given width, and plain lines without one."""

import re

import pytest

STEPS = """
from guided.progress import progress_bar

figures = dict(reconstruction=123.4, kl=17.2, negative_elbo=140.6, score=37.65)
for times in (1, 3):
    with progress_bar("pretrain guided_unsupervised, seed 2" * times, 2000, 1500, "step") as bar:
        bar.update(100)
        bar.validated(1600, figures)
        bar.refresh()
"""

CELLS = """
from types import SimpleNamespace as Made
from fewshot.study.executors.progress import Progress

names = [f"encoder-guided_supervised-seed{seed}-0" for seed in range(4)]
tasks = [Made(cell=Made(name=name, depends=dict(cell="encoder"))) for name in names]
with Progress("quickstart", tasks, 2) as progress:
    for task in tasks[:3]:
        progress.started(task)
    progress.finished(tasks[0])
    progress.tick()
"""


def shown(printed):
    """What stood in a line at any time."""
    return [line.replace("\x1b[A", "").rstrip() for line in re.split(r"[\r\n]+", printed)]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_bar_fits_and_keeps_its_brackets(terminal, columns):
    lines = [line for line in shown(terminal(["-c", STEPS + CELLS], columns)) if line]
    assert max(map(len, lines)) <= columns
    assert {line[-1] for line in lines} == {"]"}
    assert all(line.count("|") == 2 and line.count("[") == 1 for line in lines)
    assert any("1600/2000 [" in line and "score 37.65" in line for line in lines) == (columns > 80)
    assert any("1/4 cells |" in line and "0 s left" in line for line in lines)
    assert "…: " in "".join(lines), "a title that is too long is cut"


def test_lines_without_a_terminal(python_run):
    done = python_run(STEPS)
    values = "reconstruction 123.40, kl 17.20, negative_elbo 140.60, score 37.65"
    title = "pretrain guided_unsupervised, seed 2"
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{title * times}: step 1600 of 2000: {values}" for times in (1, 3)
    ]
    assert python_run(STEPS, FEWSHOT_PLAIN="silent").stderr == ""


NOTEBOOK = """
import sys, types
made = {name: types.ModuleType(name) for name in (
    "ipykernel", "ipykernel.zmqshell", "IPython", "IPython.display", "ipywidgets")}
made["IPython"].get_ipython = object
made["IPython.display"].display = print
widgets = ("HTML", "FloatProgress", "HBox")
vars(made["ipywidgets"]).update({name: type(name, (), {}) for name in widgets})
sys.modules.update(made)
import guided.progress
import tqdm.notebook
print(issubclass(guided.progress.ProgressBar, tqdm.notebook.tqdm), guided.progress.hidden())
"""


def test_a_notebook_has_its_own_bar(python_run):
    assert python_run(NOTEBOOK).stdout.split() == ["True", "False"]
