"""Short help of each command: static, so that printing it imports nothing heavy."""

from collections.abc import Mapping

from fewshot.printing import OPTIONS

PURPOSES = {
    "data": "list the datasets: where they are, or how to get them",
    "pretrain": "train a VAE, guided or not; writes an encoder checkpoint",
    "train": "meta-train a learner on episodes, starting from any encoder",
    "evaluate": "errors of learners on test episodes, for any encoder or embeddings",
    "compare": "the study: guided against unguided encoders, paired, over seeds",
    "probe": "linear classifiers and sample quality: what the latents hold",
    "nica": "nonlinear ICA of mixed sources, from few and many samples",
    "lake": "Lake's one-shot classification, with a study's encoders and learners",
    "report": "finished runs as one HTML page, with tables and figures",
    "reproduce": "a published study again, or some cells of it, and compare",
    "select": "which encoder of a study to take, without labels; how good that is",
    "inspect": "curves, pictures and tables of runs, in TensorBoard",
    "doctor": "what a bug report needs; checks the installation in ten seconds",
}

COMMON = {
    "output": "run folder (default: runs/...)",
    "data_root": "folder of the datasets (default: $FEWSHOT_DATA or data)",
    "device": "auto, cpu or cuda (default: auto)",
    "imports": "modules with classes of your own, e.g. '[mine]'",
}

STUDY = {
    "study": "name of the study",
    "dataset": "class and settings, e.g. Omniglot",
    "arms": "name -> encoder: guided or not, random, pixels ...",
    "seeds": "one pretraining each (default: '[0,1,2]')",
    "pretrain.steps": "optimizer steps of each pretraining (default: 2000)",
    "workers": "processes (default: one for each core, or card)",
}

KEYS: Mapping[str, Mapping[str, str]] = {
    "data": {
        "download": "a name that `fewshot data` lists, e.g. omniglot",
        "data_root": COMMON["data_root"],
    },
    "pretrain": {
        "dataset": "class and settings; its training classes are used",
        "pretrain.guidance": "list of strategies; none: an unguided VAE",
        "pretrain.backbone": "network of the encoder (default: Conv4)",
        "pretrain.latent_dim": "number of latents (default: 64)",
        "pretrain.steps": "optimizer steps (default: 2000)",
        "seed": "of weights, batches and noise (default: 0)",
        **COMMON,
        "output": "run folder (default: runs/pretrain)",
    },
    "train": {
        "dataset": "class and settings, e.g. Omniglot",
        "encoder": "checkpoint to start from; without one, a fresh backbone",
        "learner": "class and settings (default: Prototypical)",
        "train.steps": "optimizer steps (default: 1000)",
        "train.setting": "shape of the training episodes (default: 20-way 1-shot)",
        "seed": "of fresh weights and of the episodes (default: 0)",
        **COMMON,
        "output": "run folder (default: runs/train)",
    },
    "evaluate": {
        "dataset": "class and settings, e.g. Omniglot",
        "encoder": "checkpoint or {class_path: Torchvision, …}; else raw pixels",
        "learners": "name -> class and settings (default: Prototypical)",
        "settings": "shapes of the episodes (default: 5-way 1-shot)",
        "episodes": "number for each shape (default: 1000)",
        "split": "train, validation, test or all (default: test)",
        "predictions": "CSV file of the true and predicted class of every query",
        "replay": "results.json of a study: compute one of its rows again",
        "row": "with --replay: position of the row, from 0",
        **COMMON,
        "output": "run folder (default: runs/evaluate)",
    },
    "compare": {
        **STUDY,
        "learners": "name -> few-shot learner, and its meta-training if any",
        "settings": "shapes of the test episodes (default: 5-way 1-shot)",
        "episodes": "test episodes for each shape (default: 1000)",
        **COMMON,
        "output": "run folder (default: runs/ and the study's name)",
    },
    "probe": {
        **STUDY,
        "latent_dims": "numbers of latents to compare",
        "samples": "images drawn from each model to judge its samples",
        **COMMON,
        "output": "run folder (default: runs/ and the study's name)",
    },
    "nica": {
        "study": "name of the study",
        "samples": "training samples of each segment, e.g. '[50,500]'",
        "widths": "of the network's hidden layers, e.g. '[16,64]'",
        "seeds": "sources and mixing of each (default: '[0,1,2,3,4]')",
        "sources.mean": "0: segments change the scale alone (default: 3)",
        "estimator.steps": "of each training (default: 2000)",
        "workers": STUDY["workers"],
        "device": COMMON["device"],
        "output": "run folder (default: runs/ and the study's name)",
    },
    "lake": {
        **STUDY,
        "learners": "name -> few-shot learner",
        "archive": "Lake's all_runs.zip, or the folder that it holds",
        "runs": "[own, drawn]: Lake's own, others, or both (default)",
        "drawn": "number of drawn runs (default: 200)",
        **COMMON,
        "output": "run folder (default: runs/ and the study's name)",
    },
    "report": {
        "output": "folder to write to (default: runs/report/<study>)",
        "join": "true: one study from runs of it with other seeds",
    },
    "reproduce": {
        "check": "name: compute some of its cells alone",
        "cells": "how many, drawn at random (default: 3)",
        "seed": "of that draw (default: 0)",
        "published": "folder of the published studies",
        "workers": STUDY["workers"],
        **COMMON,
        "output": "folder to run in (default: runs/reproduced/NAME)",
    },
    "select": {
        "images": "of the training classes, encoded for UDR (default: 1000)",
        "votes": "of ModelCentrality, for each live latent (default: 5 to 20)",
        "seed": "of all that is drawn (default: 0)",
        "workers": STUDY["workers"],
        **COMMON,
        "output": "folder to write to (default: select in the first RUN)",
    },
    "inspect": {
        "port": "of the page (default: 6006, or the next free one)",
    },
    "doctor": {
        "data_root": COMMON["data_root"],
        "device": COMMON["device"],
    },
}
"""Command -> main key -> its meaning, in at most 55 characters."""

STUDIES = ("compare", "probe", "nica", "lake", "reproduce")
"""Commands that run studies."""

WITH_RESULTS = ("pretrain", "train", "evaluate", *STUDIES, "doctor")
"""Commands with results, which have ``--json``; all but the last write a file of them."""

EXAMPLES = {
    "data": (
        "fewshot data",
        "fewshot data --download omniglot --data-root ~/data",
    ),
    "pretrain": (
        "fewshot pretrain configs/omniglot/pretrain.yaml",
        "fewshot pretrain --dataset Glyphs --pretrain.steps 500",
    ),
    "train": (
        "fewshot train configs/omniglot/train.yaml",
        "fewshot train --dataset Glyphs --train.steps 200 --output runs/proto",
    ),
    "evaluate": (
        "fewshot evaluate --dataset Glyphs --encoder runs/pretrain/encoder.safetensors",
        "fewshot evaluate --replay runs/quickstart/results.json --row 5",
    ),
    "compare": (
        "fewshot compare configs/quickstart.yaml",
        "fewshot compare configs/quickstart.yaml --seeds '[0,1,2,3]'",
    ),
    "probe": (
        "fewshot probe configs/paper/mnist_latents.yaml",
        "fewshot probe configs/paper/mnist_latents.yaml --seeds '[0]'",
    ),
    "nica": (
        "fewshot nica configs/nica/finite_sample.yaml",
        "fewshot nica configs/nica/finite_sample.yaml --samples '[50,500]'",
    ),
    "lake": (
        "fewshot lake configs/omniglot/lake.yaml",
        "fewshot lake configs/omniglot/lake.yaml --runs '[own]'",
    ),
    "report": (
        "fewshot report runs/quickstart runs/quickstart-again",
        "fewshot report runs/seeds-0-4 runs/seeds-5-9 --join true",
    ),
    "reproduce": (
        "fewshot reproduce omniglot_compare",
        "fewshot reproduce --check omniglot_compare --cells 3",
    ),
    "select": (
        "fewshot select runs/glyphs_rivals",
        "fewshot select runs/beta1 runs/beta4 --output runs/selected",
    ),
    "inspect": (
        "fewshot inspect runs/quickstart",
        "fewshot inspect runs",
    ),
    "doctor": (
        "fewshot doctor",
        "fewshot doctor --json > doctor.json",
    ),
}

USAGE = """usage: fewshot COMMAND [FILE] [--key value ...]

Does guiding a VAE's latents lower the error of few-shot learners that use its
encoder?

commands:
{commands}

FILE is a YAML configuration, see configs/. Arguments override its keys:
--pretrain.steps 500. `fewshot COMMAND --help` lists the main keys. Inspect a
run with `fewshot inspect runs/NAME`.

First run, offline, a good minute: fewshot compare configs/quickstart.yaml
"""


def usage() -> str:
    """The text of ``fewshot --help``."""
    lines = [f"  {name:<9} {purpose}" for name, purpose in PURPOSES.items()]
    return USAGE.format(commands="\n".join(lines))


def command_help(name: str) -> str:
    """The text of ``fewshot NAME --help``: main keys and two examples in thirty lines."""
    runs = dict.fromkeys(("report", "select", "inspect"), " RUN [RUN ...]")
    given = {"data": "", "doctor": "", "reproduce": " [NAME]", **runs}
    file = given.get(name, " [FILE]")
    options = {f"--{key}": meaning for key, meaning in KEYS[name].items()}
    if name == "report":
        options = {"RUN": "run folder, or the file of its results"} | options
    elif name == "reproduce":
        options = {"NAME": "study, or path of its results; none: list the studies"} | options
    elif name == "select":
        options = {"RUN": "run folder of a finished comparison"} | options
    elif name == "inspect":
        options = {"RUN": "run folder, finished or not, or a folder of these"} | options
    elif file:
        options = {"FILE": "YAML file with any of the keys; arguments override it"} | options
    width = max(map(len, [*options, "--print-config"]))
    return "\n".join(
        [
            f"usage: fewshot {name}{file} [--key value ...]",
            "",
            PURPOSES[name][0].upper() + PURPOSES[name][1:] + ".",
            "",
            *(f"  {key.replace('_', '-'):<{width}}  {said}" for key, said in options.items()),
            "",
            f"  {'--print-config':<{width}}  print the resulting configuration, and exit",
            f"  {'--help-all':<{width}}  all keys and classes",
            *(
                f"  {'--' + option:<{width}}  {said}"
                for option, said in OPTIONS.items()
                if option != "json" or name in WITH_RESULTS
            ),
            "",
            "examples:",
            *(f"  {example}" for example in EXAMPLES[name]),
            "",
        ]
    )
