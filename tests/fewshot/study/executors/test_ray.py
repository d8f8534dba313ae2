"""Studies on a Ray cluster whose machines are on this one."""

import functools
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from fewshot.commands.compare import CompareConfig
from fewshot.config import load
from fewshot.study import Study
from fewshot.study.run import study_plan
from guided.errors import InputError

ray = pytest.importorskip("ray", reason="ray is not installed")
from fewshot.study.executors.ray_cluster import RayCluster  # noqa: E402


@pytest.fixture
def cluster(toy, shared_cache):
    """Three machines that Ray believes in, of one core each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(toy.__file__).parent), *sys.path]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("FEWSHOT_CACHE", str(shared_cache))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.others = [made.add_node(num_cpus=1) for _ in range(2)]
        ray.init(made.address, logging_level="error", log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


def run(toy, folder, *faults):
    """As for the other executors: the toy plan's numbers by name, and the error."""
    plan = functools.partial(toy.plan, str(folder), faults)
    cells, error = plan(), None
    try:
        RayCluster(plan, "auto").run(cells, "toy")
    except InputError as refused:
        error = str(refused)
    done = [task.cell for task in cells.tasks.values() if task.cell.done]
    return {cell.name[:3]: toy.number(cell) for cell in done}, error


def test_ray_computes_the_same_and_names_what_it_cannot(
    cluster, toy, tmp_path, numbers, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # its workers were started elsewhere
    found, error = run(toy, "run", ("c01", "dies once"), ("c12", "refuses"))
    assert "c12" in error
    assert "lower learning_rate" in error
    assert found == {name: n for name, n in numbers.items() if name not in ("c12", "c13")}
    assert run(toy, "run") == (numbers, None)


def test_a_machine_that_leaves_changes_no_bit(finished, cluster, same_numbers, tmp_path):
    """It is taken away as soon as the first encoder is trained."""
    folder = tmp_path / "run"
    config = load(CompareConfig, finished.config)
    roots = ("data",)
    plan = functools.partial(study_plan, config, roots, folder, "cpu")
    splits = config.dataset(roots).splits()
    study = Study(config, splits, folder, executor=RayCluster(plan, "auto"))

    def leave():
        deadline = time.monotonic() + 200
        while not list(folder.glob("cells/encoder-vae*/cell.json")):
            if time.monotonic() > deadline:
                return
            time.sleep(0.1)
        cluster.remove_node(cluster.others[0], allow_graceful=False)
        left.append(time.monotonic())

    left = []
    leaving = threading.Thread(target=leave)
    leaving.start()
    study.result()
    leaving.join()
    assert left, "no machine left before the end"
    same_numbers(folder)
