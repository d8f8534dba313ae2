"""Sections of meta-trained learners: the validation curve and its result."""

from collections.abc import Sequence

from fewshot.study.colours import arm_styles
from fewshot.study.html.pictures import ended_at_best
from fewshot.study.html.plots import curves_plot
from fewshot.study.html.single.run import FinishedRun, class_name
from fewshot.study.html.single.sections import Sections
from fewshot.study.outcome import LearningCurve
from fewshot.study.text import fixed
from guided.html.fragment import Table


def training(runs: Sequence[FinishedRun]) -> Sections:
    """The sections of learners that ``fewshot train`` meta-trained."""
    curves = [LearningCurve(run.name, run.config["seed"], run.results["history"]) for run in runs]
    styles = arm_styles(run.name for run in runs)
    shapes = dict.fromkeys(_shape(run) for run in runs)
    drawn = [
        curves_plot(
            f"Validation {shape} error, in %",
            "score",
            [c for run, c in zip(runs, curves, strict=True) if _shape(run) == shape],
            styles,
        )
        for shape in shapes
    ]
    columns = [_facts(run, curve) for run, curve in zip(runs, curves, strict=True)]
    lines = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return Sections(
        lead="A learner that was meta-trained on episodes of the training classes.",
        subject=(
            "Result",
            Table("Learner and training", ("", *(run.name for run in runs)), tuple(lines)),
        ),
        styles=styles,
        warnings=[
            (f"{curve.arm}: t" if len(runs) > 1 else "T")
            + "raining ended at its lowest error yet; more steps may lower it."
            for curve in curves
            if ended_at_best(curve)
        ],
        curves=[one for one in drawn if one],
    )


def _shape(run: FinishedRun) -> str:
    shape = run.config["train"]["validation"]
    return f"{shape['n_way']}-way {shape['n_shot']}-shot"


def _facts(run: FinishedRun, curve: LearningCurve) -> dict[str, str]:
    how, kept = run.config["train"], curve.history[curve.kept]
    tasks = how.get("tasks")
    shown = how["setting"]
    return {
        "learner": class_name(run.config["learner"]),
        "images": class_name(run.settings["dataset"]),
        "started from": str(run.config.get("encoder") or "random weights"),
        "tasks": class_name(tasks)
        if tasks
        else f"{shown['n_way']}-way {shown['n_shot']}-shot episodes of the training classes",
        "training": f"{curve.history[-1]['step']:,} steps of {how['episodes_per_step']} "
        f"episode{'s' * (how['episodes_per_step'] > 1)}, "
        f"seed {run.config['seed']}",
        "kept": f"step {kept['step']:,}",
        "validation error": f"{fixed(kept['score'])} % in {how['validation_episodes']} "
        f"{_shape(run)} episodes of the validation classes, which chose the step",
    }
