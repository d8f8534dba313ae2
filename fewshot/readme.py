"""The README's result tables: generated from ``runs/published/*.json``, never typed.

``python -m fewshot.readme README.md`` rewrites the text between each pair of markers
``<!-- results: FILE LEARNER -->`` (or another kind of table) and ``<!-- end -->``.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from fewshot.study.report import published_line
from guided.files import write_bytes

KINDS = "results|learners|budget|diagnostics|peer|probe|lake"
BLOCK = re.compile(rf"(<!-- ({KINDS}): (\S+) ?(\S*) -->\n)(.*?)(<!-- end -->)", re.S)


def results_table(results: dict[str, Any], learner: str) -> str:
    """One line an arm, one column a setting: error, half width over seeds, paired difference."""
    rows = [row for row in results["rows"] if row["learner"] == learner]
    settings = list(dict.fromkeys((row["n_way"], row["n_shot"]) for row in rows))
    lines = [
        "| arm (latents) | " + " | ".join(f"{w}-way {s}-shot" for w, s in settings) + " |",
        "|---|" + "---|" * len(settings),
    ]
    for arm, latents in dict.fromkeys((row["arm"], row["latents"]) for row in rows):
        cells = {
            (row["n_way"], row["n_shot"]): _cell(row)
            for row in rows
            if (row["arm"], row["latents"]) == (arm, latents)
        }
        label = arm if latents == "all" else f"{arm} ({latents})"
        lines.append(f"| {label} | " + " | ".join(cells[s] for s in settings) + " |")
    return "\n".join(lines) + "\n"


def learners_table(results: dict[str, Any], arm: str) -> str:
    """As :func:`results_table`, but one line a learner, of one arm's encoder; then what others
    report."""
    rows = [
        {**row, "arm": row["learner"], "learner": arm, "latents": "all"}
        for row in results["rows"]
        if row["arm"] == arm
    ]
    table = results_table({"rows": rows}, arm).replace("arm (latents)", "learner", 1)
    for name, errors in results.get("published", {}).items():
        table += published_line(f"published: {name}", errors) + "\n"
    return table


def _cell(row: dict[str, Any], digits: int = 1) -> str:
    text = _mean(row, "error", digits)
    if row["paired_difference"] is not None:
        text += f" ({_paired(row, digits)})"
    return text


def _paired(row: dict[str, Any], digits: int = 1) -> str:
    ends = (row["paired_difference"], *row["paired_difference_ci95"])
    change, low, high = (f"{end:+.{digits}f}" for end in ends)
    return f"{change}: {low} … {high}"


def _mean(row: dict[str, Any], measure: str, digits: int) -> str:
    """A mean and half its interval over seeds; a dash where nothing was measured."""
    if row[measure] is None:
        return "–"
    text = f"{row[measure]:.{digits}f}"
    if row[f"{measure}_ci95_seeds"]:
        low, high = row[f"{measure}_ci95_seeds"]
        text += f" ± {(high - low) / 2:.{digits}f}"
    return text


def budget_table(results: dict[str, Any], learner: str) -> str:
    """One line an arm, one column an amount of meta-training of a learner named ``learner@…``."""
    rows = [row for row in results["rows"] if row["learner"].partition("@")[0] == learner]
    budgets = sorted({row["train_episodes"] for row in rows})
    lines = [
        "| labels | arm | " + " | ".join(f"{n:,} episodes" for n in budgets) + " |",
        "|---|---|" + "---|" * len(budgets),
    ]
    for share, arm in dict.fromkeys((row["labelled"], row["arm"]) for row in rows):
        cells = {row["train_episodes"]: _cell(row) for row in rows if row["arm"] == arm}
        errors = " | ".join(cells[n] for n in budgets)
        encoder = re.sub(r"_\d+$", "", arm)  # an arm's name ends in its share
        lines.append(f"| {100 * share:g} % | {encoder} | {errors} |")
    return "\n".join(lines) + "\n"


def probe_table(results: dict[str, Any]) -> str:
    """One line an arm: error of the linear classifier, then FID, for each number of latents."""
    dims = results["config"]["latent_dims"]
    heads = [f"error, {dim} latents" for dim in dims] + [f"FID, {dim}" for dim in dims]
    lines = ["| arm | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for arm in dict.fromkeys(row["arm"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["arm"] == arm]
        cells = [_cell(row, 2) for row in rows] + [_mean(row, "fid", 1) for row in rows]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    for name, errors in results["published"].items():
        cells = [f"{error:g}*" for error in errors] + ["–"] * len(dims)
        lines.append(f"| {name}, published* | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def diagnostics_table(results: dict[str, Any]) -> str:
    """Mean over seeds of each measurement of each arm."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in results["diagnostics"]:
        grouped.setdefault((entry["measure"], entry["arm"]), []).append(entry)
    lines = ["| measurement | arm | of the latents meant | of the others |", "|---|---|---|---|"]
    for (measure, arm), entries in grouped.items():
        own = "slice" if "slice" in entries[0] else "within_images"
        rest = "rest" if "rest" in entries[0] else "others_within_images_mean"
        digits = 1 if "percent" in measure else 2
        means = [sum(e[key] for e in entries) / len(entries) for key in (own, rest)]
        lines.append(f"| {measure} | {arm} | {means[0]:.{digits}f} | {means[1]:.{digits}f} |")
    return "\n".join(lines) + "\n"


def peer_table(results: dict[str, Any]) -> str:
    """A study's first row beside another program's result on the same episodes."""
    ours, peer, paired = results["rows"][0], results["peer"], results["paired_with_peer"]
    lines = ["| | error in % | 95 % over seeds | seconds |", "|---|---|---|---|"]
    for name, entry, seconds in (
        ("ours", ours, results["seconds"]),
        (peer["name"], peer, peer["seconds"]),
    ):
        low, high = entry["error_ci95_seeds"]
        lines.append(f"| {name} | {entry['error']:.2f} | {low:.2f} … {high:.2f} | {seconds:.0f} |")
    low, high = paired["ci95"]
    lines.append(
        f"| difference | {paired['difference']:+.2f} | paired: {low:+.2f} … {high:+.2f} | |"
    )
    return "\n".join(lines) + "\n"


def lake_table(results: dict[str, Any], arm: str) -> str:
    """One line an arm and learner on Lake's task, then the published errors; or one arm's lines."""
    rows = [row for row in results["rows"] if arm in ("", row["arm"])]
    lines = [
        f"| {results['task']} | error in % | 95 % of {results['trials']} trials "
        "| 95 % over runs | each seed | paired difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        label = row["arm"] if row["latents"] == "all" else f"{row['arm']} ({row['latents']})"
        binomial, over_runs = (
            f"{row[key][0]:.1f} … {row[key][1]:.1f}" if row[key] else "–"
            for key in ("error_ci95_binomial", "error_ci95_runs")
        )
        seeds = ", ".join(f"{error:.1f}" for error in row["error_by_seed"])
        paired = "" if row["paired_difference"] is None else _paired(row)
        lines.append(
            f"| {label}, {row['learner']} | {row['error']:.1f} | {binomial} | {over_runs} "
            f"| {seeds} | {paired} |"
        )
    for entry in [] if arm else results["published"]:
        mark = "\\*" if entry["remembered"] else ""
        label = f"published, on Lake's own runs: {entry['name']}"
        lines.append(f"| {label} | {entry['error']}{mark} | | | | |")
    return "\n".join(lines) + "\n"


def fill(text: str, root: Path) -> str:
    """The text with every marked block generated anew.

    Args:
        text: of a Markdown file.
        root: the folder that the markers' paths start from.
    """

    def block(match: re.Match[str]) -> str:
        opening, kind, file, which, _, closing = match.groups()
        results = json.loads((root / file).read_text())
        of_one = {
            "results": results_table,
            "learners": learners_table,
            "budget": budget_table,
            "lake": lake_table,
        }
        of_study = {
            "diagnostics": diagnostics_table,
            "peer": peer_table,
            "probe": probe_table,
        }
        one = of_one.get(kind)
        table = one(results, which) if one else of_study[kind](results)
        return f"{opening}{table}{closing}"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    write_bytes(readme, fill(readme.read_text(), readme.parent).encode())
