"""From a study of latents to rows, a table and a figure."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.config import describe
from fewshot.environment import hardware, versions
from fewshot.statistics import ci95_over_seeds, paired_difference, t_interval
from fewshot.study.latents.config import ProbeStudyConfig
from fewshot.study.latents.run import Key, Probed
from fewshot.study.report import fresh
from guided.files import write_arrays, write_bytes, write_figure, write_json
from guided.seeds import derive_seed
from guided.training.log import RunLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def result_rows(config: ProbeStudyConfig, probed: Probed) -> list[dict[str, Any]]:
    """One dict an arm and number of latents; errors in percent, intervals as ``[low, high]``.

    Each arm but the baseline is paired with it: same number of latents, seeds and test images.
    """
    keys = [(name, latent_dim) for name in config.arms for latent_dim in config.latent_dims]
    return [_row(config, probed, key) for key in keys]


def _rounded(value: Any) -> Any:
    """Numbers, intervals and what is missing, as they are stored."""
    if value is None:
        return None
    return [_rounded(end) for end in value] if isinstance(value, tuple) else round(float(value), 4)


def _row(config: ProbeStudyConfig, probed: Probed, key: Key) -> dict[str, Any]:
    name, latent_dim = key
    arm, errors, distances = config.arms[name], probed.errors[key], probed.distances.get(key)
    row = {
        "arm": name,
        "encoder": arm.encoder,
        "guidance": [entry["class_path"] for entry in describe(arm.guidance)],
        "latent_dim": latent_dim,
        "seeds": config.seeds,
        "images": errors.shape[1],
        "error": _rounded(errors.mean()),
        "error_ci95_seeds": _rounded(ci95_over_seeds(errors)),
        "paired_with": None,
        "paired_difference": None,
        "paired_difference_ci95": None,
        "relative_reduction": None,
        "fid": _rounded(np.mean(distances)) if distances else None,
        "fid_ci95_seeds": _rounded(t_interval(np.array(distances))) if distances else None,
    }
    if name == config.baseline:
        return row
    paired = paired_difference(
        errors,
        probed.errors[config.baseline, latent_dim],
        seed=derive_seed(0, "bootstrap"),
        resamples=config.resamples,
    )
    return row | {
        "paired_with": config.baseline,
        "paired_difference": _rounded(paired.difference),
        "paired_difference_ci95": _rounded(paired.ci95),
        "relative_reduction": _rounded(paired.relative_reduction),
    }


HEADER = (
    "| arm | latents | error % | 95 % over seeds | minus {baseline} | 95 % paired | reduction % "
    "| FID | 95 % over seeds |\n|---|---|---|---|---|---|---|---|---|"
)


def markdown_table(results: dict[str, Any]) -> str:
    """The rows as a Markdown table, grouped by the number of latents, with its notes."""
    lines = [HEADER.format(baseline=results["config"]["baseline"])]
    for i, latent_dim in enumerate(results["config"]["latent_dims"]):
        rows = [row for row in results["rows"] if row["latent_dim"] == latent_dim]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
        for name, errors in results["published"].items():
            lines.append(f"| {name}, published* | {latent_dim} | {errors[i]:g}* |" + " – |" * 6)
    return "\n".join(lines) + "\n\n" + "\n\n".join(notes(results)) + "\n"


def _range(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f} … {interval[1]:.2f}"


def _cells(row: dict[str, Any]) -> list[str]:
    paired, reduction, fid = row["paired_difference"], row["relative_reduction"], row["fid"]
    return [
        row["arm"],
        str(row["latent_dim"]),
        f"{row['error']:.2f}",
        _range(row["error_ci95_seeds"]),
        "–" if paired is None else f"{paired:+.2f}",
        _range(row["paired_difference_ci95"]),
        "–" if reduction is None else f"{reduction:.1f}",
        "–" if fid is None else f"{fid:.2f}",
        _range(row["fid_ci95_seeds"]),
    ]


def notes(results: dict[str, Any]) -> list[str]:
    """What the table's numbers are, and which are not ours."""
    features, config = results["features"], results["config"]
    lines = [
        "Error: of a linear classifier (logistic regression) on the standardised posterior means, "
        f"on {results['rows'][0]['images']:,} test images.",
        f"FID: of {config['samples']:,} samples from the prior against the test images, on "
        f"features of a classifier trained here (test error {features['error']:.2f} %): comparable "
        f"within this table only; training images have {features['training_images']:.2f}.",
    ]
    if results["published"]:
        lines.append("\\* reported by others, as remembered: neither measured nor looked up here.")
    return lines


def write_report(
    config: ProbeStudyConfig, probed: Probed, output: Path, device: str
) -> dict[str, Any]:
    """Write ``results.json``, ``wrong.npz``, ``table.md``, the figure and TensorBoard's page.

    Returns:
        The content of ``results.json``.
    """
    results = {
        "study": config.study,
        "baseline": config.baseline,
        "rows": result_rows(config, probed),
        "features": {name: _rounded(value) for name, value in probed.features.items()},
        "published": config.published,
        "versions": versions() | {name: version(name) for name in ("scikit-learn", "torchmetrics")},
        "hardware": hardware(device),
        "seconds": round(probed.seconds, 1),
        "config": describe(config, full=True),
    }
    wrong = {f"{name}|{dim}": errors > 0 for (name, dim), errors in probed.errors.items()}
    write_arrays(output / "wrong.npz", wrong)
    table = markdown_table(results)
    write_bytes(output / "table.md", table.encode())
    figure = latents_figure(results)
    write_figure(output / "latents.png", figure)
    with RunLog(fresh(output / "tensorboard" / "report")) as log:
        log.text("table", table)
        log.figure("latents", figure)
    write_json(output / "results.json", results)
    return results


def latents_figure(results: dict[str, Any]) -> "Figure":
    """Error and FID against the number of latents, a line an arm, bars over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    dims = results["config"]["latent_dims"]
    arms = list(dict.fromkeys(row["arm"] for row in results["rows"]))
    for i, arm in enumerate(arms):
        rows = [row for row in results["rows"] if row["arm"] == arm]
        shift = 2 ** (0.05 * (i - (len(arms) - 1) / 2))  # so that bars do not cover each other
        _line(left, rows, "error", shift, f"C{i}")
        _line(right, rows, "fid", shift, f"C{i}")
    for i, (name, errors) in enumerate(results["published"].items()):
        left.plot(
            dims, errors, "x:", color=f"{0.25 + 0.2 * i % 0.6:.2f}", label=f"{name}, published*"
        )
    left.set_ylabel("error of a linear classifier in %")
    # Logarithmic above 1 %: an untrained encoder's error is many times a trained one's.
    left.set_yscale("symlog", linthresh=1)
    ticks = [0, 1, 2, 5, 10, 20, 50, 100]
    left.set_yticks(ticks, [str(tick) for tick in ticks])
    right.set_ylabel("FID, features of a classifier trained here")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(dims, [str(dim) for dim in dims])
        axes.set_xlabel("latents")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(fontsize=7)
    many = len(results["rows"][0]["seeds"]) > 1
    figure.suptitle(f"{results['study']}" + (": 95 % over seeds" if many else ""), fontsize=10)
    return figure


def _line(
    axes: "Axes", rows: list[dict[str, Any]], measure: str, shift: float, colour: str
) -> None:
    if rows[0][measure] is None:
        return
    rows = sorted(rows, key=lambda row: row["latent_dim"])
    places = [shift * row["latent_dim"] for row in rows]
    values = [row[measure] for row in rows]
    axes.plot(places, values, "o-", color=colour, markersize=4, linewidth=1, label=rows[0]["arm"])
    for place, row in zip(places, rows, strict=True):
        if row[f"{measure}_ci95_seeds"]:
            axes.plot([place, place], row[f"{measure}_ci95_seeds"], color=colour, linewidth=2)
