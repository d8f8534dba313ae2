"""An ordinary classifier, whose features measure the quality of samples."""

from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from guided.backbones import BackboneFactory, Conv4
from guided.encoder import Encoder
from guided.errors import InputError
from guided.progress import progress_bar
from guided.ranges import Checked, Count, Positive, Several, Whole
from guided.seeds import seeded_initialisation
from guided.training.data import Batches, LabelledImages
from guided.training.state import check_finite


@dataclass(frozen=True)
class ClassifierConfig(Checked):
    """Settings of a classifier's training: cross-entropy, Adam, learning rate by cosine to zero.

    Args:
        backbone: the network without its last layer; makes the features.
        steps: optimizer steps.
        batch_size: images a step.
        learning_rate: at the start.
        seed: of weights and batches.
    """

    backbone: BackboneFactory = field(default_factory=lambda: partial(Conv4, width=32))
    steps: Count = 2000
    batch_size: Several = 128
    learning_rate: Positive = 3e-3
    seed: Whole = 0


class Classifier(nn.Module):
    """An encoder and a linear layer.

    Args:
        encoder: images to features; without latents.
        n_classes: number of logits.
    """

    def __init__(self, encoder: Encoder, n_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.answer = nn.Linear(encoder.out_dim, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, n_classes]`` of images ``[B, C, H, W]``, uint8 or float in [0, 1]."""
        return self.answer(self.encoder(images))

    @torch.no_grad()
    def error(self, images: Tensor, labels: Tensor, batch_size: int = 1000) -> float:
        """The share of images ``[N, C, H, W]`` whose class is not ``labels``, in percent."""
        self.eval()
        predicted = torch.cat([self(batch).argmax(1) for batch in images.split(batch_size)])
        return float(100 * (predicted != labels).float().mean())


def train_classifier(
    config: ClassifierConfig, train: LabelledImages, device: torch.device | str = "cpu"
) -> Classifier:
    """Train a classifier of the attribute ``class``.

    Args:
        config: settings.
        train: labelled images.
        device: where to compute.

    Raises:
        InputError: there are fewer images than a batch holds; a loss is not finite.
    """
    if len(train.images) < config.batch_size:
        raise InputError(
            f"batch_size: {config.batch_size} is more than the {len(train.images)} training images"
        )
    device = torch.device(device)
    train = train.to(device)
    channels, height, width = train.images.shape[1:]
    with seeded_initialisation(config.seed, "classifier", "weights"):
        encoder = Encoder(config.backbone((channels, height, width)), None)
        classifier = Classifier(encoder, train.categories()["class"])
    classifier.to(device).train()
    optimizer = torch.optim.Adam(classifier.parameters(), config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    batches = Batches(len(train.images), config.batch_size, config.seed, device)
    with progress_bar("train a classifier", config.steps, 0, "step") as bar:
        for step in range(config.steps):
            rows = batches[step]
            loss = F.cross_entropy(classifier(train.images[rows]), train.labels["class"][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
            if step % 100 == 0 or step == config.steps - 1:
                check_finite({"classification": loss}, step + 1, config.learning_rate)
    return classifier.eval()
