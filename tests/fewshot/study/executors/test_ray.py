"""Studies on a Ray cluster whose machines are on this one."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guided.errors import InputError

# Read when ray is imported; see RayCluster.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
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
    arguments = ["compare", str(finished.file), "--output", str(folder)]
    where = ["--executor", "ray", "--ray.address", cluster.address]
    start = [sys.executable, "-m", "fewshot.cli", *arguments, *where]
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as study:
        deadline = time.monotonic() + 200
        while not list(folder.glob("cells/encoder-vae*/cell.json")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        cluster.remove_node(cluster.others[0], allow_graceful=False)
        assert not (folder / "results.json").exists()
        printed, _ = study.communicate(timeout=400)
    assert study.returncode == 0, printed.decode()
    same_numbers(folder)
