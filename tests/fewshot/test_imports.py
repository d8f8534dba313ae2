"""Heavy libraries are imported only when they are needed."""

import json

import pytest

SLOW = ["learn2learn", "torchvision", "sklearn", "matplotlib", "pandas", "scipy.stats"]
SLOW += ["tensorboard", "torchmetrics"]
LAZY = "import fewshot, guided, fewshot.data, fewshot.learners, fewshot.tasks, guided.guidance"


@pytest.mark.parametrize(
    ("program", "heavy"),
    [
        ("import fewshot.commands.compare", SLOW),
        (LAZY, [*SLOW, "torch", "numpy"]),
        ("from fewshot.learners import MAML, NeuralStatistician", SLOW),
    ],
)
def test_importing_imports_nothing_heavy(python, program, heavy):
    printed = python(
        f"{program}\nimport sys, json\n"
        "print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))",
        *heavy,
    )
    assert json.loads(printed) == []
