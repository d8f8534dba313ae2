"""The page: sections of one comparison, or of several side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewshot.study.colours import Style, arm_styles
from fewshot.study.disentanglement.rows import report_tables
from fewshot.study.encoder_facts import ACTIVE, latents_table
from fewshot.study.html.content import Content
from fewshot.study.html.episodes import Examples, examples
from fewshot.study.html.findings import Findings, findings
from fewshot.study.html.markdown import Block, blocks
from fewshot.study.html.pictures import Gallery, first_seed, galleries
from fewshot.study.html.plots import Curves, Forest, curves_plot, differences_plot, errors_plot
from fewshot.study.html.setup import Setup, setup
from fewshot.study.html.tables import Measure, measures
from guided.html.fragment import environment
from guided.storage.files import write_bytes

FILE = "report.html"


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template and write it, atomically."""
    text = environment(__package__).get_template(template).render(**values)
    write_bytes(path, text.encode())


@dataclass(frozen=True)
class Run:
    """The sections of one comparison; see the modules for each."""

    findings: Findings
    plots: Sequence[tuple[str, Forest, Forest | None]]
    curves: Sequence[Curves]
    scores: Sequence[Block]
    measures: Sequence[Measure]
    galleries: Sequence[Gallery]
    lost: Sequence[str]
    examples: Examples | None
    setup: Setup
    has_cells: bool


def write_comparisons(contents: Sequence[Content], path: Path) -> None:
    """Write the report of finished comparisons.

    Args:
        contents: several are shown side by side.
        path: of the page.
    """
    # One style for each arm on the whole page, whatever studies have it.
    styles = arm_styles(arm for content in contents for arm in content.arms)
    write_page(
        path,
        "comparison.html",
        runs=[_run(content, styles, path, len(contents)) for content in contents],
        styles=styles,
        title=", ".join(dict.fromkeys(content.result.study for content in contents)),
    )


def _run(content: Content, styles: Mapping[str, Style], path: Path, n_runs: int) -> Run:
    rows = {learner: content.rows_of(learner) for learner in content.learners}
    encoders = first_seed(content)
    return Run(
        findings=findings(content),
        plots=[
            (
                name,
                errors_plot(name, own, content.errors, styles),
                differences_plot(name, own, content.errors, styles),
            )
            for name, own in rows.items()
        ],
        curves=_curves(content, styles),
        scores=list(
            blocks(f"{_latents(content)}\n{report_tables(content.result.disentanglement)}")
        ),
        measures=measures(content.result.diagnostics),
        galleries=galleries(encoders, n_runs),
        lost=[encoder.arm for encoder in encoders if encoder.lost],
        examples=examples(content),
        setup=setup(content, path),
        has_cells=content.index is not None,
    )


LATENTS = (
    "Means over seeds. The reconstruction error on validation images and the KL of a latent's "
    f"posterior from the prior are in nats per image: how many latents have more than {ACTIVE:g}, "
    "the largest, and all together. Variance: that of a latent over test images by that of its "
    "posterior, or of the chains that infer it; a latent well below 1 says little of its image."
)


def _latents(content: Content) -> str:
    table = latents_table(content.result.encoders)
    return f"{LATENTS}\n\n{table}" if table else ""


def _curves(content: Content, styles: Mapping[str, Style]) -> list[Curves]:
    by_elbo = content.config.get("select_by") == "negative_elbo"
    trained = [curve for curve in content.curves if curve.elbo]
    elbo = "Held-out negative ELBO, nats per image"
    drawn = [curves_plot(elbo, "negative_elbo", trained, styles)]
    if not by_elbo:
        name = f"Pretraining: validation few-shot error of {content.learners[0]}, in %"
        drawn.insert(0, curves_plot(name, "score", content.curves, styles))
    for learner, curves in content.trainings.items():
        name = f"Meta-training of {learner}: validation few-shot error, in %"
        drawn.append(curves_plot(name, "score", curves, styles))
    return [curves for curves in drawn if curves]
