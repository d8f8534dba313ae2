"""What is not imported until it is needed."""

import json

SLOW = [
    "learn2learn",
    "torchvision",
    "sklearn",
    "matplotlib",
    "scipy.stats",
    "tensorboard",
    "torchmetrics",
]


def test_importing_a_command_imports_nothing_slow(python):
    printed = python(
        "import sys, json, fewshot.commands.compare\n"
        "print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))",
        *SLOW,
    )
    assert json.loads(printed) == []
