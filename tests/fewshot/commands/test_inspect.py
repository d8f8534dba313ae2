"""``fewshot inspect``: names of the runs, refusals, and the page itself."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

from fewshot.cli import main
from fewshot.commands.inspect import linked, logs_of


@pytest.fixture
def runs(tmp_path):
    """Two run folders with a log each, one without, and another's folder of the same name."""
    for name in ("runs/a", "runs/b", "other/a"):
        folder = tmp_path / name / "vae" / "seed0"
        folder.mkdir(parents=True)
        (folder / "events.out.tfevents.1").write_text("")
    (tmp_path / "runs" / "empty" / "vae").mkdir(parents=True)
    for run in ("runs/a", "runs/b", "runs/empty", "other/a"):
        (tmp_path / run / "config.yaml").write_text("")
    return tmp_path


def test_logs_are_named_by_study(runs):
    a, b = (runs / "runs" / name for name in "ab")
    assert logs_of([runs / "runs" / "b"]) == {"b": b}
    assert logs_of([runs / "runs", runs / "runs" / "a"]) == {"a": a, "b": b}
    both = logs_of([runs / "runs" / "a", runs / "other" / "a"])
    assert both == {"a": a, "a-2": runs / "other" / "a"}
    with linked(both) as folder:
        assert len(list(folder.glob("*/vae/seed0/events*"))) == 2
    assert not folder.exists()
    assert len(list(a.glob("vae/seed0/events*"))) == 1, "links alone are removed"


def test_folders_of_earlier_versions_and_of_others_are_shown_too(runs):
    earlier = runs / "earlier" / "tensorboard" / "vae"
    earlier.mkdir(parents=True)
    (earlier / "events.out.tfevents.1").write_text("")
    assert logs_of([runs / "earlier"]) == {"earlier": runs / "earlier"}, "no run of this package"
    (runs / "earlier" / "config.yaml").write_text("")
    assert logs_of([runs / "earlier"]) == {"earlier": runs / "earlier" / "tensorboard"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/empty"], "runs: runs/empty: has no logs of TensorBoard"),
        (["runs/a", "nowhere"], "runs: nowhere: no such folder"),
        ([], "runs: expected at least one run folder"),
        (["runs/a", "--port", "0"], "port: expected in [1, 65535], got 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(runs, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(runs)
    assert main(["inspect", *arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"fewshot inspect: {said}")
    assert printed.count("\n") == 1


def read(address, posted=None):
    data = None if posted is None else json.dumps(posted).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def counted(shown, name):
    """Runs that have a curve of this name."""
    return sum(name in curves for curves in shown.values())


def until(address, complete):
    """The answer once events are loaded, which goes on beside the page."""
    for _ in range(100):
        found = json.loads(read(address))
        if complete(found):
            break
        time.sleep(0.2)
    return found


def test_the_page_shows_every_run_until_ctrl_c(finished):
    """With TensorBoard's own loader of events, as a browser asks for them."""
    command = [sys.executable, "-m", "fewshot.cli", "inspect", str(finished.folder)]
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        # A shell's background jobs ignore it, and hand that down.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        line = started.stdout.readline()
        assert line.startswith("TensorBoard: http"), line + started.stderr.read()
        address = line.split()[1]
        name = "2_test/3w1s_prototypical_error_%"
        shown = until(address + "data/plugin/scalars/tags", lambda s: counted(s, name) == 12)
        errors = shown["run/vae/seed0"][name]
        assert "percent" in errors["description"]
        assert set(shown) >= {"run/guided/mean", "run/guided/trained/seed1", "run/pixels/seed0"}
        assert "run/vae/seed0" in json.loads(read(f"{address}data/plugin/projector/runs"))
        asked = urllib.parse.urlencode({"run": "run/vae/seed0", "name": "vae, test images"})
        lines = read(f"{address}data/plugin/projector/metadata?{asked}").splitlines()
        embedded = read(f"{address}data/plugin/projector/tensor?{asked}")
        assert len(embedded) == 4 * 8 * (len(lines) - 1)  # eight latents, below a header
        assert read(f"{address}data/plugin/projector/sprite_image?{asked}")[1:4] == b"PNG"
        layout = until(f"{address}data/plugin/custom_scalars/layout", lambda s: "category" in s)
        assert [own["title"] for own in layout["category"]] == ["Validation", "Test", "Losses"]
        asked = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"]}
        asked |= {"colParams": [], "startIndex": 0, "sliceSize": 100}
        table = json.loads(read(f"{address}data/plugin/hparams/session_groups", asked))
        assert len(table["sessionGroups"]) == 8  # four arms, two seeds
        assert all(row["metricValues"] for row in table["sessionGroups"])
    finally:
        started.send_signal(signal.SIGINT)
        _, said = started.communicate(timeout=20)
    assert started.returncode == 130
    assert "Traceback" not in said
