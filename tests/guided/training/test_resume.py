"""A run that was killed and resumed ends with the same bits as one that was not.

Run as a program, this file is the run that gets killed: ``test_resume.py STATE_FILE``.
"""

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import guided

CONFIG = guided.PretrainConfig(
    backbone=partial(guided.Conv4, width=4),
    latent_dim=6,
    likelihood=guided.Gaussian,
    guidance=[
        guided.DeformablePCA(deformations=("rotation", "scale")),
        guided.ExcitationInhibition(attributes={"class": 2}, hidden=4),
    ],
    augmentation=guided.Augmentation(rotation=10),
    kl_warmup=5,
    steps=60,
    batch_size=8,
    schedule="cosine",
    validate_every=3,
    log_every=2,
)
RNG = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (26, 1, 16, 16), generator=RNG, dtype=torch.uint8)


def spread(encoder):
    """A score that worsens now and then, so that the best is not the last."""
    with torch.no_grad():
        return float(encoder(IMAGES[20:]).sin().sum())


def run(state_file=None, config=CONFIG, score=spread, **how):
    train = guided.LabelledImages(IMAGES[:20], {"class": torch.arange(20) % 3})
    data = train, guided.LabelledImages(IMAGES[20:])
    return guided.pretrain(*data, config, seed=3, state_file=state_file, score=score, **how)


def assert_same_result(first, second):
    for one, other in ((first.model, second.model), (first.encoder, second.encoder)):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert first.progress == second.progress


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    state_file = tmp_path / "state"
    child = subprocess.Popen([sys.executable, __file__, str(state_file)])
    try:
        deadline = time.monotonic() + 600
        while not state_file.exists():
            assert child.poll() is None, "the run ended before it wrote a state"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(random.uniform(0, 0.8))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    steps_done = torch.load(state_file, weights_only=True)["progress"]["step"]
    assert 0 < steps_done < CONFIG.steps
    whole = run()
    assert_same_result(run(state_file), whole)
    assert 0 < whole.progress.best_step < CONFIG.steps


def crash(call):
    """The score, until the ``call``-th call, which fails."""
    calls = iter(range(1, call))

    def score(encoder):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return spread(encoder)

    return score


SHORT = replace(CONFIG, steps=12)


ALTERNATING = [guided.ExcitationInhibition({"class": 2}, hidden=4, steps="alternating")]


@pytest.mark.parametrize("change", [{}, {"shuffle": False}, {"guidance": ALTERNATING}])
def test_two_crashes_in_a_row(change, tmp_path):
    state_file, config = tmp_path / "state", replace(SHORT, **change)
    for call in (3, 2):
        with pytest.raises(KeyboardInterrupt):
            run(state_file, config, score=crash(call))
    assert torch.load(state_file, weights_only=True)["progress"]["step"] == 9
    assert_same_result(run(state_file, config), run(None, config))


def test_a_finished_run_is_only_read(tmp_path):
    first = run(tmp_path / "state", SHORT)
    content = (tmp_path / "state").read_bytes()
    again = run(tmp_path / "state", SHORT, score=crash(1))  # never called
    assert_same_result(first, again)
    assert not first.model.training and not again.model.training
    assert (tmp_path / "state").read_bytes() == content


def test_patience_survives_a_resume(tmp_path):
    config = replace(SHORT, patience=2)
    scores = iter([1.0, 2.0])
    with pytest.raises(StopIteration):
        run(tmp_path / "state", config, score=lambda _: next(scores))
    progress = run(tmp_path / "state", config, score=lambda _: 3.0).progress
    assert (progress.step, progress.best_step, progress.best_score) == (9, 3, 1.0)


def test_curves_of_a_resumed_run_have_no_gap_and_no_ghost(tmp_path, read_scalars):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state", SHORT, score=crash(3), log_folder=log)
    time.sleep(1 - time.time() % 1)  # TensorBoard orders a folder's files by their second
    run(tmp_path / "state", SHORT, log_folder=log)
    run(None, SHORT, log_folder=tmp_path / "whole")
    assert read_scalars(log) == read_scalars(tmp_path / "whole")
    assert list(read_scalars(log)["1_validation/score"]) == [3, 6, 9, 12]


if __name__ == "__main__":
    torch.set_num_threads(1)
    # Slow, so that there is time to be killed.
    run(Path(sys.argv[1]), score=lambda encoder: time.sleep(0.2) or spread(encoder))
