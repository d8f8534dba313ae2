"""From classified runs of Lake's task to rows, a table and files, beside the published errors."""

from pathlib import Path
from typing import Any

from fewshot.config import describe
from fewshot.environment import hardware, versions
from fewshot.evaluation import EpisodeErrors
from fewshot.statistics import Interval
from fewshot.study.config import StudyConfig
from fewshot.study.figures import baseline_name
from fewshot.study.lake.classify import Classified
from fewshot.study.lake.figures import lake_figure, run_figure
from fewshot.study.lake.runs import N_CHARACTERS, LakeRuns
from fewshot.study.report import fresh, result_rows, stack
from guided.files import write_bytes, write_figure, write_json
from guided.training.log import RunLog

# Errors in percent on Lake's own runs of models that were trained on the background set alone, and
# whether the number was seen in a source (people, BPL, ConvNet: Lake et al. 2015; pixels: the demo
# beside the archive) or is only remembered.
PUBLISHED = [
    {"name": "BPL", "error": 3.3, "remembered": False},
    {"name": "people", "error": 4.5, "remembered": False},
    {"name": "RCN", "error": 7.3, "remembered": True},
    {"name": "ConvNet", "error": 13.5, "remembered": False},
    {"name": "ProtoNet", "error": 13.7, "remembered": True},
    {"name": "VHE", "error": 18.7, "remembered": True},
    {"name": "pixels, modified Hausdorff distance", "error": 38.8, "remembered": False},
]


def binomial_ci95(error: float, trials: int) -> Interval:
    """Wilson's interval for an error rate in percent, from trials taken as independent.

    With several seeds ``error`` is their mean and ``trials`` are those of one: the seeds answer
    the same trials, and more of them pin down the trials' difficulty no better.

    Args:
        error: in percent; rounded to a whole number of wrong trials.
        trials: of one seed.
    """
    from scipy.stats import binomtest

    interval = binomtest(round(error * trials / 100), trials).proportion_ci(0.95, "wilson")
    return 100 * float(interval.low), 100 * float(interval.high)


def lake_rows(config: StudyConfig, errors: list[EpisodeErrors]) -> list[dict[str, Any]]:
    """A study's rows whose episodes are the runs, and the trials."""
    rows = []
    for row, values in zip(result_rows(config, errors), stack(errors).values(), strict=True):
        n_runs = values.shape[1]
        trials = n_runs * N_CHARACTERS
        interval = binomial_ci95(float(values.mean()), trials)
        del row["episodes"]
        over_runs = row.pop("error_ci95_episodes")
        rows.append(
            row
            | {
                "runs": n_runs,
                "trials": trials,
                "error_by_seed": [round(float(error), 4) for error in values.mean(1)],
                "error_ci95_binomial": [round(end, 4) for end in interval],
                "error_ci95_runs": over_runs,
            }
        )
    return rows


def lake_results(
    config: StudyConfig, classified: Classified, runs: LakeRuns, seconds: float, device: str
) -> dict[str, Any]:
    """The content of ``lake.json``.

    Args:
        config: of the command.
        classified: by every arm, seed and learner.
        runs: the task.
        seconds: of the study and of classifying.
        device: where it was computed.
    """
    return {
        "study": config.study,
        "task": runs.title,
        "source": runs.source,
        "trials": runs.trials,
        "baseline": config.baseline,
        "rows": lake_rows(config, classified.errors()),
        "published": PUBLISHED,
        "run_names": list(runs.names),
        "images": runs.digest,
        "versions": versions(),
        "hardware": hardware(device),
        "seconds": round(seconds, 1),
        "config": describe(config, full=True),
    }


HEADER = (
    "| arm | latents | learner | error % | 95 % binomial | 95 % over runs | 95 % over seeds "
    "| each seed | minus {baseline} | 95 % paired |\n|---|---|---|---|---|---|---|---|---|---|"
)


def lake_table(results: dict[str, Any]) -> str:
    """Whose runs they are, the rows, and the published errors, as Markdown."""
    rows = results["rows"]
    lines = [
        f"{results['task']}: {len(results['run_names'])} runs, {results['trials']} trials, "
        "20-way one-shot within one alphabet.\n",
        HEADER.format(baseline=baseline_name(rows)),
    ]
    for row in rows:
        difference = row["paired_difference"]
        cells = [
            row["arm"],
            row["latents"],
            row["learner"],
            f"{row['error']:.2f}",
            _range(row["error_ci95_binomial"]),
            _range(row["error_ci95_runs"]),
            _range(row["error_ci95_seeds"]),
            " ".join(f"{error:.2f}" for error in row["error_by_seed"]),
            "–" if difference is None else f"{difference:+.2f}",
            _range(row["paired_difference_ci95"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        f"\nBinomial: Wilson's interval of the mean error for the {results['trials']} trials of "
        "one seed, since all seeds answer the same trials; it holds for these runs. Over runs: "
        "Student's t, for runs of other alphabets and drawers.\n",
        "| published, on Lake's own 20 runs | error % |\n|---|---|",
        *(f"| {p['name']} | {p['error']}{'*' if p['remembered'] else ''} |" for p in PUBLISHED),
        "\n\\* remembered, not seen in a source.",
    ]
    return "\n".join(lines) + "\n"


def _range(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f} … {interval[1]:.2f}"


def write_lake_report(
    config: StudyConfig,
    classified: Classified,
    runs: LakeRuns,
    output: Path,
    *,
    seconds: float,
    device: str = "cpu",
) -> dict[str, Any]:
    """Write ``lake.json``, ``lake.md``, the figures and TensorBoard's page.

    Returns:
        The content of ``lake.json``; for the arguments see :func:`lake_results`.
    """
    results = lake_results(config, classified, runs, seconds, device)
    figures = {"lake": lake_figure(results)}
    for (arm, seed, learner, latents), predicted in classified.predicted.items():
        # One for each arm: the first of its seeds, latents and learners.
        if f"lake/{arm}" not in figures:
            title = f"{arm}, {learner}" + ("" if latents == "all" else f" on {latents}")
            title += f", seed {seed}; {runs.names[0]}"
            figures[f"lake/{arm}"] = run_figure(runs, predicted, title)
    table = lake_table(results)
    write_bytes(output / "lake.md", table.encode())
    with RunLog(fresh(output / "tensorboard" / "lake")) as log:
        log.text("lake", table)
        for name, figure in figures.items():
            write_figure(output / f"{name}.png", figure)
            log.figure(name, figure)
    write_json(output / "lake.json", results)
    return results
