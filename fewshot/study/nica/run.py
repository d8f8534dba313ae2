"""The study of nonlinear ICA: trains, compares with linear ICA, and scores what is recovered."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fewshot.config import describe
from fewshot.environment import versions
from fewshot.study.cells import Cell, Cells
from fewshot.study.executors import Executor, Serial
from fewshot.study.nica.config import NicaStudyConfig
from fewshot.study.nica.report import NicaResult, write_report
from fewshot.study.nica.scores import (
    LEARNED,
    LINEAR,
    MIXTURES,
    OF_A_NETWORK,
    UNMIXED,
    UNTRAINED,
    WITHOUT_ONE,
    Recovery,
    row_keys,
)
from fewshot.study.nica.sources import Samples, draw
from fewshot.study.nica.training import build, train
from fewshot.study.row_tests import RowTest
from fewshot.study.rows import RowKey
from guided.progress import say as say_line

FORMAT = 1  # part of every digest: raise it when the same configuration comes to mean new numbers

Codes = dict[str, NDArray[np.floating]]
"""Method -> codes of held-out samples ``[N, d]``."""


class NicaStudy:
    """Computes a study's cells inside a run folder; a cell holds all seeds of one condition.

    Args:
        config: what to compare.
        output: the run folder; cells go below its folder ``cells``.
        device: where to compute.
        say: receives one line after each training.
        executor: computes the cells.
    """

    def __init__(
        self,
        config: NicaStudyConfig,
        output: Path,
        *,
        device: str = "cpu",
        say: Callable[[str], object] = say_line,
        executor: Executor | None = None,
    ) -> None:
        self.config, self.output, self.device, self.say = config, output, device, say
        self.executor = executor or Serial()
        self.cells = Cells(output, config.threads)

    def result(self) -> NicaResult:
        """Compute what is missing and write the report."""
        planned = self.plan()
        self.executor.run(self.cells, self.config.study)
        scores = [Recovery(**values) for cell in planned for values in cell.facts["scores"]]
        return write_report(self.config, scores, self.cells, self.output, self.device)

    def tests(self) -> list[RowTest]:
        """Each row with each of its seeds, planned."""
        config, found = self.config, []
        for samples in config.samples:
            parts = [(width, self._learned(samples, width)) for width in config.widths]
            for width, cell in [*parts, (None, self._linear(samples))]:
                for method in OF_A_NETWORK if width else WITHOUT_ONE:
                    found += [
                        RowTest(key, seed, cell, partial(_value, cell, key, seed))
                        for key in row_keys(method, samples, width).values()
                        for seed in config.seeds
                    ]
        return found

    def plan(self) -> list[Cell]:
        """The cells of each number of samples: one for each width, and one without training."""
        config = self.config
        learned = [self._learned(n, width) for n in config.samples for width in config.widths]
        return [*learned, *map(self._linear, config.samples)]

    def _depends(self, cell: str, samples: int) -> dict[str, Any]:
        config = self.config
        return {
            "format": FORMAT,
            "cell": cell,
            "sources": describe(config.sources),
            "mixing": describe(config.mixing),
            "samples": samples,
            "test_samples": config.test_samples,
            "seeds": config.seeds,
            "versions": {k: versions()[k] for k in ("guided-fewshot", "torch")},
            "device": self.device,
        }

    def _learned(self, samples: int, width: int) -> Cell:
        """The cell of all seeds' networks of a width, trained together."""

        def work(_: Cell) -> dict[str, Any]:
            config, seeds = self.config, self.config.seeds
            data = [self._samples(samples, seed) for seed in seeds]
            size = width, config.sources.number, config.sources.segments
            models = [build(config.estimator, *size, seed).to(self.device) for seed in seeds]
            untrained = [
                _codes(model.unmix, test) for model, (_, test) in zip(models, data, strict=True)
            ]
            train(models, [fit for fit, _ in data], config.estimator, seeds)
            scores = []
            for i, (fit, test) in enumerate(data):
                learned = _codes(models[i].unmix, test)
                codes: Codes = {
                    LEARNED: learned,
                    UNMIXED: linear_ica(_codes(models[i].unmix, fit), learned, seeds[i]),
                    UNTRAINED: untrained[i],
                }
                scores += _recoveries(codes, test, samples, width, seeds[i])
            found = np.mean([score["mcc"] for score in scores if score["method"] == LEARNED])
            self.say(f"{samples} samples a segment, width {width}: held-out MCC {found:.3f}")
            return {"scores": scores}

        depends = self._depends("learned", samples) | {
            "estimator": describe(self.config.estimator),
            "width": width,
        }
        return self.cells.plan(f"learned-{samples}-{width}", depends, work)

    def _linear(self, samples: int) -> Cell:
        """The cell of the mixtures themselves, and of their linear ICA."""

        def work(_: Cell) -> dict[str, Any]:
            scores = []
            for seed in self.config.seeds:
                fit, test = self._samples(samples, seed)
                mixtures = _array(test.mixtures)
                unmixed = linear_ica(_array(fit.mixtures), mixtures, seed)
                codes: Codes = {LINEAR: unmixed, MIXTURES: mixtures}
                scores += _recoveries(codes, test, samples, None, seed)
            return {"scores": scores}

        return self.cells.plan(f"linear-{samples}", self._depends("linear", samples), work)

    def _samples(self, samples: int, seed: int) -> tuple[Samples, Samples]:
        """Training and held-out samples, mixtures standardised by the former's moments."""
        config = self.config
        fit, test = (
            draw(config.sources, config.mixing, seed, number, split)
            for number, split in ((samples, "train"), (config.test_samples, "test"))
        )
        centre, scale = fit.mixtures.mean(0), fit.mixtures.std(0)
        standard = [((data.mixtures - centre) / scale).to(self.device) for data in (fit, test)]
        return replace(fit, mixtures=standard[0]), replace(test, mixtures=standard[1])


def _value(cell: Cell, key: RowKey, seed: int) -> NDArray[np.float64]:
    """One score of a finished cell, ``[1]``."""
    scores = [Recovery(**values) for values in cell.facts["scores"]]
    own = [score.values for score in scores if score.seed == seed]
    return np.array([values[key] for values in own if key in values])


def _recoveries(
    codes: Codes, test: Samples, samples: int, width: int | None, seed: int
) -> list[dict[str, Any]]:
    """Scores of several methods' held-out codes, JSON-able."""
    sources = _array(test.sources)
    return [
        Recovery.of(
            found, sources, method=method, samples=samples, width=width, seed=seed
        ).to_json()
        for method, found in codes.items()
    ]


@torch.no_grad()
def _codes(network: nn.Module, data: Samples) -> NDArray[np.float32]:
    return _array(network(data.mixtures))


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.cpu().numpy()
    return found


def linear_ica(train: NDArray[Any], test: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """Components of held-out samples by FastICA (Hyvärinen 1999), fitted to others.

    Args:
        train, test: ``[N, d]``.
        seed: of its first matrix.
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    ica = FastICA(whiten="unit-variance", max_iter=1000, random_state=seed)
    with warnings.catch_warnings():
        # Where it does not converge, its last matrix is a rotation like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(train.astype(np.float64))
    components: NDArray[np.float64] = ica.transform(test.astype(np.float64))
    return components
