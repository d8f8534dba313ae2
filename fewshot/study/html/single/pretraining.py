"""Sections of pretrained encoders: curves, measurements and pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fewshot.study.colours import arm_styles
from fewshot.study.encoder_facts import EncoderFacts, cautions
from fewshot.study.html.pictures import Pictured, ended_at_best, galleries
from fewshot.study.html.plots import curves_plot
from fewshot.study.html.single.run import FinishedRun, class_name
from fewshot.study.html.single.sections import Sections
from fewshot.study.html.tables import Measure, explanation
from fewshot.study.measurement import Measurement
from fewshot.study.outcome import LearningCurve
from fewshot.study.text import fixed
from guided.html.fragment import Table


def pretraining(runs: Sequence[FinishedRun]) -> Sections:
    """The sections of encoders that ``fewshot pretrain`` made."""
    several = len(runs) > 1
    labels = {run.name: run.name if several else _arm(run) for run in runs}
    measured: dict[str, list[tuple[str, Measurement]]] = {}
    for run in runs:
        for entry in map(Measurement.from_json, run.results["diagnostics"]):
            own = entry.arm == _arm(run)
            label = (
                labels[run.name] if own else f"{run.name}: {entry.arm}" if several else entry.arm
            )
            measured.setdefault(entry.measure, []).append((label, entry))
    curves = [_curve(run, labels[run.name]) for run in runs]
    encoders = [
        Pictured(curve.arm, curve.seed, run.folder, _judged(run).growing)
        for run, curve in zip(runs, curves, strict=True)
    ]
    found = [label for entries in measured.values() for label, _ in entries]
    styles = arm_styles([*labels.values(), *found])
    named = dict.fromkeys(_measured(run) for run in runs)
    drawn = [
        curves_plot(
            f"Held-out {name}, nats per image",
            "score",
            [c for run, c in zip(runs, curves, strict=True) if _measured(run) == name],
            styles,
        )
        for name in named
    ]
    return Sections(
        lead="An encoder that was trained as a VAE's, guided or not, on the training classes.",
        subject=("What was trained", _subject(runs, curves)),
        styles=styles,
        warnings=[
            word
            for run, curve in zip(runs, curves, strict=True)
            for word in _warnings(curve, _judged(run), several)
        ],
        curves=[one for one in drawn if one],
        measures=[_measure(name, entries) for name, entries in measured.items()],
        galleries=galleries(encoders),
        lost=[encoder.arm for encoder in encoders if encoder.lost],
    )


def _judged(run: FinishedRun) -> EncoderFacts:
    return EncoderFacts.from_json(run.results["encoders"][0])


def _arm(run: FinishedRun) -> str:
    arm: str = run.results["arm"]
    return arm


def _measured(run: FinishedRun) -> str:
    """The name of the score by which the state was chosen."""
    autoencoder = run.config["pretrain"].get("autoencoder")
    return "reconstruction error" if autoencoder else "negative ELBO"


def _curve(run: FinishedRun, label: str) -> LearningCurve:
    return LearningCurve(label, run.config["seed"], run.results["history"])


def _subject(runs: Sequence[FinishedRun], curves: Sequence[LearningCurve]) -> Table:
    """A line for each fact, a column for each run."""
    columns = [_facts(run, curve) for run, curve in zip(runs, curves, strict=True)]
    lines = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return Table("Images, network and training", ("", *(run.name for run in runs)), tuple(lines))


def _facts(run: FinishedRun, curve: LearningCurve) -> dict[str, str]:
    how, encoder, images = run.config["pretrain"], run.results["encoder"], run.results["images"]
    kept = curve.history[curve.kept]
    shape = " × ".join(map(str, encoder["input_shape"]))
    slices = [f"{name} {_places(start, stop)}" for name, (start, stop) in encoder["slices"].items()]
    parts = [f"{name} {fixed(kept[key], 1)}" for name, key in PARTS.items() if key in kept]
    return {
        "images": f"{class_name(run.settings['dataset'])}: {images['train']:,} to train on, "
        f"{images['validation']:,} held out to choose the state",
        "guidance": "; ".join(_guidance(run)) or "none",
        "network": f"{class_name(how['backbone'])}, {shape} images to {encoder['out_dim']} latents",
        "latents": ", ".join(slices),
        "decoder's likelihood": class_name(how["likelihood"]),
        "training": f"{curve.history[-1]['step']:,} steps of {how['batch_size']} images, seed "
        f"{run.config['seed']}",
        "kept": f"step {kept['step']:,}, whose held-out {_measured(run)} is "
        f"{fixed(kept['score'])} nats per image" + (f" ({', '.join(parts)})" if parts else ""),
    }


def _places(start: int, stop: int) -> str:
    return str(start) if stop == start + 1 else f"{start}–{stop - 1}"


PARTS = {"reconstruction": "reconstruction", "KL": "kl"}


def _guidance(run: FinishedRun) -> list[str]:
    described: Any = run.settings.get("pretrain", {}).get("guidance", [])
    return list(map(class_name, described))


def _warnings(curve: LearningCurve, facts: EncoderFacts, several: bool) -> list[str]:
    """Reasons for caution, one sentence each."""
    of, found = (f"{curve.arm}: t" if several else "T"), []
    if ended_at_best(curve):
        found.append(f"{of}raining ended at its best score yet; more steps may lower it.")
    return found + cautions([replace(facts, arm=curve.arm)])


def _measure(name: str, entries: Sequence[tuple[str, Measurement]]) -> Measure:
    lines = []
    for label, entry in entries:
        digits = 1 if entry.unit == "%" else 2
        lines.append((label, fixed(entry.target, digits), fixed(entry.other, digits)))
        lines += entry.further(digits)
    return Measure(name, explanation(name), tuple(lines))
