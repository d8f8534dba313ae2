"""What tests of commands need besides the fixtures of ``tests/fewshot``."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path):
    """Make ``<split>/<class>/<i>.png``; ``sizes`` says how many images each test class has."""

    def make(sizes):
        rng = np.random.default_rng(0)
        classes = {
            **{("train", f"t{i}"): 6 for i in range(3)},
            **{("val", f"v{i}"): 6 for i in range(3)},
            **{("test", f"s{i}"): n for i, n in enumerate(sizes)},
        }
        for (split, name), n in classes.items():
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 256, (16, 16), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
        return {
            "class_path": "ImageFolder",
            "init_args": {"path": str(tmp_path / "images"), "size": 16},
        }

    return make
