"""The study of nonlinear ICA: its data, its training, its cells and tables, its refusals."""

import copy
import math
import re

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import ttest_1samp

from fewshot.cli import main
from fewshot.commands.nica import NicaConfig
from fewshot.config import load
from fewshot.config.load import override
from fewshot.study.colours import COLOURS
from fewshot.study.nica import Estimator, Mixing, NicaResult, NicaStudy, NicaStudyConfig, Sources
from fewshot.study.nica.figure import recovery_figure
from fewshot.study.nica.run import linear_ica
from fewshot.study.nica.scores import LEARNED, LINEAR, MIXTURES, UNMIXED, UNTRAINED, Recovery
from fewshot.study.nica.sources import draw, mix
from fewshot.study.nica.tables import differences_table, order_table, recovery_table
from fewshot.study.nica.terminal import terminal_tables
from fewshot.study.nica.training import build, train
from guided.metrics import mcc
from guided.seeds import generator
from guided.storage.files import read_json

STUDY = yaml.safe_load("""
study: nica
sources: {number: 3, segments: 5}
estimator: {steps: 5, batch_size: 16}
samples: [4, 8]
widths: [3, 6]
seeds: [0, 1]
test_samples: 20
""")


def test_sources_have_the_moments_of_their_segments():
    settings = Sources(number=3, segments=4, mean=2, least_std=0.5, most_std=1.5)
    fit, test = (draw(settings, Mixing(), 0, 4000, split) for split in ("train", "test"))
    assert fit.sources.shape == fit.mixtures.shape == (16_000, 3)
    assert not torch.equal(fit.sources, test.sources)
    for segment in range(4):
        first, second = (data.sources[data.segments == segment] for data in (fit, test))
        assert (first.mean(0).abs() < 2.1).all()
        assert ((first.std(0) > 0.45) & (first.std(0) < 1.55)).all()
        assert (torch.corrcoef(first.T) - torch.eye(3)).abs().max() < 0.06
        assert (first.mean(0) - second.mean(0)).abs().max() < 0.15, "the same segments"
    order_one = draw(Sources(mean=0), Mixing(), 0, 4000, "train")
    assert order_one.sources[order_one.segments == 0].mean(0).abs().max() < 0.2


def test_the_mixing_can_be_undone_and_is_well_conditioned():
    values = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def line_and_rest(mixing):
        mixed = mix(values, mixing, 5)
        matrix = torch.linalg.lstsq(values, mixed).solution
        return matrix, (values @ matrix - mixed).abs().mean()

    matrix, rest = line_and_rest(Mixing(layers=1, condition=3))
    assert torch.linalg.svdvals(matrix).tolist() == pytest.approx([3, 7 / 3, 5 / 3, 1])
    assert rest < 1e-9
    assert line_and_rest(Mixing(slope=1))[1] < 1e-9
    assert line_and_rest(Mixing(slope=0.1))[1] > 0.1

    def bent(value):
        return mix(value[None], Mixing(slope=0.1), 5)[0]

    signs = set()
    for value in values[:10]:
        jacobian = torch.autograd.functional.jacobian(bent, value)
        signs.add(float(torch.linalg.slogdet(jacobian).sign))
    assert len(signs) == 1, "one to one"


def test_models_trained_together_are_those_trained_alone():
    """By an ordinary loop, one model at a time."""
    settings = Estimator(steps=6, batch_size=8, hidden=3)
    data = [draw(Sources(), Mixing(), seed, 5, "train") for seed in (0, 1)]
    together = [build(settings, 5, 4, 40, seed) for seed in (0, 1)]
    train(together, data, settings, [0, 1])
    for seed, found in enumerate(together):
        model, batches = build(settings, 5, 4, 40, seed), generator(seed, "nica", "batches")
        rows = torch.randint(200, (6, 8), generator=batches)
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
        for step, batch in enumerate(rows):
            rate = 0.5 * (1 + math.cos(math.pi * step / 6)) * settings.learning_rate
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            model(data[seed].mixtures[batch], data[seed].segments[batch]).backward()
            optimizer.step()
        for name, value in model.state_dict().items():
            assert torch.allclose(value, found.state_dict()[name], atol=1e-5), name
    assert not torch.equal(together[0].unmix[0].weight, together[1].unmix[0].weight)


def test_linear_ica_recovers_sources_that_are_mixed_linearly():
    """The rival is at its best where it should be."""
    rng = np.random.default_rng(0)
    train, test = rng.laplace(size=(2, 4000, 4))
    mixing = rng.normal(size=(4, 4))
    assert mcc(linear_ica(train @ mixing, test @ mixing, seed=0), test) > 0.98
    assert mcc(test @ mixing, test) < 0.9


def test_sources_are_recovered_where_linear_ica_fails(tmp_path):
    """The study's own statement, in a small form: a quarter of its steps."""
    small = NicaStudyConfig(
        "small",
        sources=Sources(segments=20),
        estimator=Estimator(steps=500, batch_size=128, learning_rate=0.02),
        samples=[200],
        widths=[16],
        seeds=[0],
        test_samples=100,
    )
    found = NicaStudy(small, tmp_path, say=lambda _: None).result().recoveries
    rivals = ((UNTRAINED, 16), (LINEAR, None), (MIXTURES, None))
    learned = found.seeds_of(LEARNED, 16, 200)
    assert learned > 0.85
    assert learned > max(found.seeds_of(*rival, 200) for rival in rivals) + 0.05


# Its report.


def recovery(method, samples, width, seed, score):
    return Recovery(
        method=method,
        samples=samples,
        width=width,
        seed=seed,
        mcc=score,
        mcc_squares=score / 2,
        information=score * 2,
    )


def known_scores():
    values = {(10, 4): (0.5, 0.7), (10, 8): (0.4, 0.5), (99, 4): (0.6, 0.8), (99, 8): (0.9, 0.9)}
    scores = [
        recovery(LEARNED, n, width, seed, score)
        for (n, width), both in values.items()
        for seed, score in enumerate(both)
    ]
    for n in (10, 99):
        both = [(name, width) for name in (UNTRAINED, UNMIXED) for width in (4, 8)]
        for name, width in [(LINEAR, None), (MIXTURES, None), *both]:
            scores += [recovery(name, n, width, seed, 0.3) for seed in (0, 1)]
    return NicaResult("known", tuple(scores[::-1])).recoveries


def test_tables_of_known_scores():
    found = known_scores()
    assert recovery_table(found).splitlines()[0] == (
        "| samples a segment | contrast, width 4 | contrast, width 8 | FastICA | mixtures "
        "| untrained, width 8 |"
    )
    first = recovery_table(found).splitlines()[2]
    # Student's t with one degree of freedom: 12.7 standard errors of 0.1.
    assert first.startswith("| 10 | 0.600 ± 1.271 | 0.450 ± 0.635 | 0.300 ± 0.000 |")
    assert "| 1.200 ± 2.541 |" in recovery_table(found, "information")
    lines = differences_table(found).splitlines()[2:]
    test = ttest_1samp([0.1, 0.2], 0).confidence_interval()
    assert lines[0] == (
        f"| 10 samples a segment: width 4 minus 8 | +0.150 | {test.low:+.3f} … {test.high:+.3f} |"
    )
    assert lines[-1].startswith("| width 8: 99 minus 10 samples a segment | +0.450 |")
    assert len(lines) == 4
    assert "| +0.300 |" in differences_table(found, "information")
    shown = found_in_terminal(found)
    assert shown[("MCC", "10 samples", "width 4")] == "0.600 ±1.271"
    assert shown[("nats", "99 samples", "width 8")] == "1.800 ±0.000"
    assert shown[("MCC, difference", "10 samples", "width 4 − 8")] == "+0.150 ±0.635"
    assert shown[("MCC, difference", "99 − 10 samples", "width 8")] == "+0.450 ±0.635"
    line = order_table(found).splitlines()[2]
    assert line == "| contrast | 4 | 10 | 0.600 ± 1.271 | 0.300 ± 0.635 |"


def found_in_terminal(found):
    """(title, line, column) -> cell, of a terminal's tables; none is wider than it."""
    cells = {}
    for width in (80, 120, 44):
        text = terminal_tables(found, squares=True, width=width)
        assert max(map(len, text.splitlines())) <= width
        title, columns = "", []
        for line in text.splitlines():
            parts = re.split(r" {3,}", line)
            if line.startswith("  ") and columns:
                for column, cell in zip(columns, parts[1:], strict=True):
                    key = title, parts[0].strip(), column
                    assert cells.setdefault(key, cell) == cell, "the same at any width"
            else:
                title, columns = parts[0], parts[1:]
    return cells


def test_bars_of_the_figure_end_at_1():
    """With two seeds Student's interval passes 1; its other end stays."""
    figure = recovery_figure("known", known_scores())
    bars = [line.get_ydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    bars = [bar for bar in bars if bar[0] != bar[1]]
    assert min(map(min, bars)) >= 0 and max(map(max, bars)) == 1
    assert "cut at 0 and 1" in figure._suptitle.get_text()
    colours = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert colours <= {*COLOURS, "0.3", "0.6"}


def test_a_run_and_its_cells(tmp_path, write, capsys, read_page):
    run = tmp_path / "run"
    assert main(["nica", write(STUDY), "--output", str(run), "--executor", "serial"]) == 0
    result = NicaResult.from_json(read_json(run / "results.json"))
    assert (run / "table.md").read_text() == result.table
    printed = capsys.readouterr().out
    assert result.summary() in printed and "|" not in printed
    assert f"everything on one page: {run}/report.html" in printed
    assert "data_root" not in (run / "config.yaml").read_text()
    assert (run / "recovery.png").stat().st_size > 5000
    page = read_page(run / "report.html")
    cells = [[cell.strip() for cell in row] for row in page.tables[0]]
    scores = result.recoveries.seeds_of(LEARNED, 3, 4)
    assert cells[1][:1] == ["4"] and cells[1][1].startswith(f"{scores.mean():.3f} ± ")
    again = tmp_path / "again"
    assert main(["report", str(run), "--output", str(again)]) == 0
    assert result.summary() in capsys.readouterr().out
    for name in ("results.json", "table.md"):
        assert (again / name).read_bytes() == (run / name).read_bytes()
    assert read_page(again / "report.html").tables == page.tables
    assert main(["report", str(run), str(again)]) == 2
    assert "is no comparison" in capsys.readouterr().err
    cells = {path.name.rpartition("-")[0] for path in (run / "cells").iterdir()}
    learned = {f"learned-{n}-{width}" for n in (4, 8) for width in (3, 6)}
    assert cells == learned | {"linear-4", "linear-8"}
    assert len(result.scores) == 4 * 2 * 3 + 2 * 2 * 2
    assert {score.method for score in result.scores} == {
        *(LEARNED, UNMIXED, UNTRAINED),
        *(LINEAR, MIXTURES),
    }
    config = load(NicaConfig, STUDY)
    _, test = NicaStudy(config, tmp_path)._samples(8, 1)
    by_hand = mcc(test.mixtures.numpy(), test.sources.numpy())
    assert result.recoveries.seeds_of(MIXTURES, None, 8)[1] == pytest.approx(by_hand, abs=1e-4)
    assert main(["nica", write(STUDY), "--output", str(run)]) == 0
    assert "finished before" in capsys.readouterr().out
    before = set((run / "cells").iterdir())
    again = copy.deepcopy(STUDY) | {"widths": [3, 6, 7], "samples": [8]}
    again["sources"]["mean"] = 3.0  # the default
    assert main(["nica", write(again), "--output", str(run), "--executor", "serial"]) == 0
    added = {path.name.rpartition("-")[0] for path in set((run / "cells").iterdir()) - before}
    assert added == {"learned-8-7"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("widths", [2, 6], "widths: a layer of 2 cannot hold 3 sources"),
        ("widths", [], "widths: at least one is needed"),
        ("samples", [4, 4], "samples: [4, 4] holds one twice"),
        ("samples", [1], "samples.0: expected at least 2, got 1"),
        ("sources.number", 1, "sources.number: expected at least 2, got 1"),
        ("sources.least_std", 4, "sources.least_std: expected at most most_std, got 4"),
        ("mixing.slope", 0, "mixing.slope: expected in (0, 1], got 0"),
        ("mixing.condition", 0.5, "mixing.condition: expected at least 1, got 0.5"),
        ("estimator.steps", 0, "estimator.steps: expected at least 1, got 0"),
        ("estimator.learning_rate", 0, "estimator.learning_rate: expected > 0, got 0"),
        ("test_samples", 1, "test_samples: expected at least 2, got 1"),
        ("workers", 0, "workers: expected at least 1, got 0"),
    ],
)
def test_impossible_studies(fails, write, tmp_path, key, value, message):
    values = copy.deepcopy(STUDY)
    override(values, key, value)
    assert message in fails("nica", write(values), writes=True)
