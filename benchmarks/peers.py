"""Minutes of a small study, against what one would do it with otherwise: Pythae and easyfsl.

    uv run --group peers benchmarks/peers.py

A VAE and a β-VAE, and the error of prototypes on their latents, 5-way 1-shot. The peer is Pythae's
``VAE`` and ``BetaVAE``, trained by its ``BaseTrainer``, then easyfsl's ``predict_embeddings``,
``TaskSampler`` and ``evaluate``, in one process with torch's own number of threads. Ours is
``fewshot compare --workers 2``. Both have the same network (our Conv4 and its decoder, wrapped for
Pythae), likelihood, β, Adam, batch size, passes over the training images, number of
validations and of test episodes. Both are processes of their own, imports included; our loader
reads the images for both, and they lie in the cache.

Not the same: Pythae chooses its best state by the loss on the validation images, ours by the
few-shot error on them; ours also draws traversals, measures the latents and writes the report.
Random numbers differ, so that errors agree only about as well as those of two seeds.

The last line is the ratio of the peer's minutes to ours.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import yaml
from _data import add_dataset_argument, load_bank
from _timing import print_table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fewshot.data import ImageBank
from guided.backbones import Conv4
from guided.likelihoods import Bernoulli
from guided.training.config import PretrainConfig
from guided.training.data import LabelledImages
from guided.training.pretrain import build_model

BATCH, RATE, SEED = 128, 1e-3, 0
BETAS = {"vae": 1.0, "beta_vae": 4.0}
N_WAY, N_SHOT, N_QUERY = 5, 1, 15
SOURCES = {"omniglot": {"class_path": "Omniglot", "init_args": {"split": "random"}}}


def n_batches(bank: ImageBank) -> int:
    """Optimizer steps of one pass, the last one with what is left."""
    return -(-len(bank) // BATCH)


def study(arguments: argparse.Namespace) -> dict[str, object]:
    """The configuration of our study."""
    per_pass = n_batches(load_bank(arguments.dataset, "train"))
    return {
        "study": "peers",
        "dataset": SOURCES.get(arguments.dataset, {"class_path": "Glyphs"}),
        "device": "cpu",
        "arms": {name: {"guidance": guidance(beta)} for name, beta in BETAS.items()},
        "learners": {"prototypical": {"learner": {"class_path": "Prototypical"}}},
        "pretrain": {
            "backbone": {"class_path": "Conv4", "init_args": {"width": arguments.width}},
            "kl_warmup": 0,
            "batch_size": BATCH,
            "learning_rate": RATE,
            "steps": arguments.passes * per_pass,
            "validate_every": per_pass,
        },
        "settings": [{"n_way": N_WAY, "n_shot": N_SHOT, "n_query": N_QUERY}],
        "seeds": [SEED],
        "episodes": arguments.episodes,
    }


def guidance(beta: float) -> list[dict[str, object]]:
    """Our form of a β: what it adds to the KL term."""
    settings = {"weight": beta - 1, "nats": 0}
    return [{"class_path": "Capacity", "init_args": settings}] if beta != 1 else []


def ours(arguments: argparse.Namespace, folder: Path) -> float:
    """Run our study; returns the mean error in percent."""
    config, output = folder / "peers.yaml", folder / "run"
    config.write_text(yaml.safe_dump(study(arguments)))
    command = [sys.executable, "-m", "fewshot.cli", "compare", str(config), "--workers", "2"]
    subprocess.run([*command, "--output", str(output)], check=True, stdout=subprocess.DEVNULL)
    rows = json.loads((output / "results.json").read_text())["rows"]
    return sum(row["error"] for row in rows) / len(rows)


def theirs(arguments: argparse.Namespace, folder: Path) -> float:
    """Run this file's :func:`peer`; returns the mean error in percent."""
    command = [sys.executable, __file__, "--peer", str(folder), *sys.argv[1:]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.rpartition("error ")[2])


def peer(arguments: argparse.Namespace, folder: Path) -> float:
    """The study with Pythae and easyfsl; returns the mean error in percent."""
    train, validation, test = (
        load_bank(arguments.dataset, split) for split in ("train", "validation", "test")
    )
    errors = []
    for name, beta in BETAS.items():
        vae = train_pythae(train, validation, beta, arguments, folder / name)
        embed = nn.Sequential(vae.encoder, Means())
        errors.append(evaluate_easyfsl(embed, test, arguments.episodes))
    return sum(errors) / len(errors)


def train_pythae(
    train: ImageBank,
    validation: ImageBank,
    beta: float,
    arguments: argparse.Namespace,
    folder: Path,
) -> nn.Module:
    """Pythae's VAE, or β-VAE, with our network, after its own training: the best state."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, AutoModel, BetaVAE, BetaVAEConfig, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> ModelOutput:
            mean, logvar = self.network.moments(images)
            return ModelOutput(embedding=mean, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=Bernoulli().mean(self.network(z)))

    config = PretrainConfig(backbone=partial(Conv4, width=arguments.width))
    network = build_model(config, LabelledImages(train.images), SEED).vae
    shape = {"input_dim": tuple(train.image_shape), "latent_dim": config.latent_dim}
    parts = Encoder(network.encoder), Decoder(network.decoder)
    if beta == 1:
        model = VAE(VAEConfig(**shape, reconstruction_loss="bce"), *parts)
    else:
        model = BetaVAE(BetaVAEConfig(**shape, reconstruction_loss="bce", beta=beta), *parts)
    data, held_out = (BaseDataset(b.images / 255, b.labels) for b in (train, validation))
    settings = BaseTrainerConfig(
        output_dir=str(folder),
        num_epochs=arguments.passes,
        learning_rate=RATE,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        seed=SEED,
        no_cuda=True,
    )
    BaseTrainer(model, data, held_out, settings).train()
    (best,) = folder.glob("*/final_model")
    return AutoModel.load_from_folder(str(best)).eval()


class Means(nn.Module):
    """The posterior means, which a learner is given."""

    def forward(self, output: dict[str, Tensor]) -> Tensor:
        return output["embedding"]


def evaluate_easyfsl(encoder: nn.Module, test: ImageBank, episodes: int) -> float:
    """Mean error in percent, as easyfsl's tutorial measures it on embeddings."""
    from easyfsl.datasets import FeaturesDataset
    from easyfsl.methods import PrototypicalNetworks
    from easyfsl.samplers import TaskSampler
    from easyfsl.utils import evaluate, predict_embeddings

    class Tasks(TaskSampler):
        """Its own constructor gives torch's an argument that newer versions refuse."""

        def __init__(self, labels: list[int]) -> None:
            self.n_way, self.n_shot, self.n_query, self.n_tasks = N_WAY, N_SHOT, N_QUERY, episodes
            self.items_per_label: dict[int, list[int]] = {}
            for item, label in enumerate(labels):
                self.items_per_label.setdefault(label, []).append(item)

    loader = DataLoader(TensorDataset(test.images / 255, test.labels), batch_size=BATCH)
    features = FeaturesDataset.from_dataframe(predict_embeddings(loader, encoder))
    sampler = Tasks(features.get_labels())
    tasks = DataLoader(features, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    return 100 * (1 - evaluate(PrototypicalNetworks(), tasks, device="cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description="A small study, against Pythae and easyfsl.")
    add_dataset_argument(parser, fallback="glyphs")
    parser.add_argument("--width", type=int, default=64, help="of Conv4")
    parser.add_argument("--passes", type=int, default=12, help="over the training images")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(f"error {peer(arguments, arguments.peer)}")
        return
    taken, rows = {}, []
    for name, run in {"Pythae and easyfsl": theirs, "fewshot compare": ours}.items():
        with tempfile.TemporaryDirectory() as folder:
            start = perf_counter()
            error = run(arguments, Path(folder))
            taken[name] = (perf_counter() - start) / 60
        rows.append((name, taken[name], error))
    print_table(("a VAE and a β-VAE", "min", "error in %"), rows)
    print(f"ratio {taken['Pythae and easyfsl'] / taken['fewshot compare']:.2f}")


if __name__ == "__main__":
    main()
