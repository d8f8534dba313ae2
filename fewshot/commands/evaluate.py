"""``fewshot evaluate``: errors of learners with one encoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fewshot.commands.common import check_ways, open_run, parse_command
from fewshot.config import made_by
from fewshot.data import DatasetFactory, data_root
from fewshot.data.dataset import SplitName
from fewshot.environment import choose_device
from fewshot.episodes import Setting
from fewshot.evaluation import embed_bank, episode_errors, table_for
from fewshot.learners.base import Learner, LearnerFactory
from fewshot.learners.prototypical import Prototypical
from fewshot.sampler import EpisodeSampler
from fewshot.statistics import t_interval
from guided.backbones import Pixels
from guided.encoder import Encoder
from guided.errors import InputError
from guided.files import write_arrays, write_json
from guided.seeds import derive_seed


@dataclass(frozen=True)
class EvaluateCommand:
    """Errors of learners on test episodes, for any encoder checkpoint.

    Args:
        dataset: where images come from.
        encoder: a checkpoint; without one, raw pixels.
        latents: another output than the saved one: all, a slice's name, features.
        learners: name -> class and settings.
        weights: name of a learner -> its own weights, learner.safetensors of fewshot train.
        settings: shapes of the episodes.
        episodes: how many for each.
        split: whose classes.
        seed: of the episodes.
        output: run folder.
        data_root: where the datasets are.
        device: auto, cpu or cuda.
    """

    dataset: DatasetFactory
    encoder: Path | None = None
    latents: str | None = None
    learners: dict[str, LearnerFactory] = field(
        default_factory=lambda: {"prototypical": partial(Prototypical)}
    )
    weights: dict[str, Path] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=lambda: [Setting()])
    episodes: int = 1000
    split: SplitName = "test"
    seed: int = 0
    output: Path = Path("runs/evaluate")
    data_root: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("learners", "settings"):
            if not getattr(self, name):
                raise InputError(f"{name}: at least one is needed")
        for name in self.weights:
            if name not in self.learners:
                raise InputError(f"weights: no learner is called {name!r}")
        for name, learner in self.learners.items():
            if made_by(learner).needs_training and name not in self.weights:
                raise InputError(f"weights: {name!r} answers at random without them")
        if self.episodes < 1:
            raise InputError(f"episodes: expected at least 1, got {self.episodes}")
        labels = [setting.label for setting in self.settings]
        if len(set(labels)) < len(labels):
            raise InputError(f"settings: {', '.join(labels)} holds one twice")


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    config = parse_command(EvaluateCommand, arguments, "evaluate")
    device = choose_device(config.device)
    dataset = config.dataset(data_root(config.data_root))
    check_ways(dataset, **{config.split: config.settings})
    encoder = Encoder.load(config.encoder, config.latents) if config.encoder else None
    bank = getattr(dataset.splits(), config.split)
    encoder = (encoder or Encoder(Pixels(bank.image_shape), None)).to(device)
    learners = {name: _learner(config, name, encoder).to(device) for name in config.learners}
    samplers = {
        s: EpisodeSampler(bank, s, derive_seed(config.seed, "test", s.label))
        for s in config.settings
    }
    output = open_run(config.output, config, device)
    embeddings = embed_bank(encoder, bank, device, description="embed")
    rows, arrays = [], {}
    for name, learner in learners.items():
        table = table_for(learner, bank, device) if learner.reads_images else embeddings
        for setting, sampler in samplers.items():
            errors = episode_errors(learner, table, sampler, config.episodes).numpy()
            arrays[f"{name}|{setting.label}"] = errors
            interval = t_interval(errors)
            rows.append(
                {
                    "learner": name,
                    **vars(setting),
                    "split": config.split,
                    "episodes": config.episodes,
                    "error": round(float(errors.mean()), 4),
                    "error_ci95_episodes": interval and [round(end, 4) for end in interval],
                }
            )
            spread = (
                f" ± {interval[1] - errors.mean():.2f} (95 % over episodes)" if interval else ""
            )
            print(
                f"{name}, {setting.n_way}-way {setting.n_shot}-shot: error "
                f"{errors.mean():.2f} %{spread}"
            )
    write_arrays(output / "episodes.npz", arrays)
    write_json(output / "results.json", {"rows": rows})
    print(f"results in {output}")


def _learner(config: EvaluateCommand, name: str, encoder: Encoder) -> Learner:
    """The learner with its own weights; refuses episodes of other ways than it was made for."""
    learner = config.learners[name](encoder)
    for setting in config.settings:
        learner.check_ways(setting.n_way)
    return learner.restore(config.weights[name]) if name in config.weights else learner
