"""What a study says that it finds in its folder."""

import shutil

import pytest
import torch

from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.study.executors import Executor
from fewshot.study.run import Study


class Nothing(Executor):
    def run(self, cells, title):
        pass


@pytest.mark.usefixtures("cache")
def test_finished_and_begun_trainings_are_told(finished, tmp_path, capsys):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    begun, damaged = (next(folder.glob(f"cells/encoder-{n}-seed1-*")) for n in ("vae", "guided"))
    for cell in (begun, damaged):
        (cell / "cell.json").unlink()
    torch.save({"progress": {"step": 6}}, begun / "state.pt")
    (damaged / "state.pt").write_bytes(b"cut off")
    config = load(CompareConfig, finished.file)
    splits = config.dataset(None).splits()

    def told(place):
        said = []
        study = Study(config, splits, place, say=said.append, executor=Nothing())
        study.compute(study.plan())
        return said

    assert told(folder) == [
        "reused 6 of 8 encoders and 8 of 8 meta-trainings; vae/seed1 continues at step 6"
    ]
    assert capsys.readouterr().err == (
        f"{damaged.name}: state.pt is damaged; its training starts again\n"
    )
    assert told(tmp_path / "empty") == []
