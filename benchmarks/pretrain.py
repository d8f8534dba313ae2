"""Images a second of pretraining, by arm, against a textbook VAE loop with the same network.

Ours is ``guided.pretrain`` as it is, its steps timed from the first validation (so that
setting up does not count) to the last; validation is on two images. The textbook loop is what
tutorials show: a torchvision-style dataset of PIL images with ``ToTensor``, a ``DataLoader``, Adam
with its defaults, the default memory layout; the same network, batch size and precision. Its
dataset lies in memory. All take turns, medians of the clock's seconds.

Given the same weights, batch and noise, both must have the same loss and gradient.

Then, for each arm: the floating-point operations of one step (convolutions and matrix products
forward, backward and in the adversary, by torch's FlopCounterMode), what that makes a second, and
as a share of the rate of a large float32 matrix product, which takes its turn with the others.

The last line is the ratio of the unguided arm to the textbook loop without worker processes.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter, process_time
from typing import get_args

import torch
import torch.nn.functional as F
from _data import add_dataset_argument, load_bank
from _timing import (
    Contender,
    matrix_product,
    matrix_product_flops,
    print_table,
    rates,
    synchronise,
)
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import ToTensor

from fewshot.data import ImageBank
from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.guidance import DeformablePCA, ExcitationInhibition, Guidance
from guided.malloc import reuse_memory
from guided.training.config import PretrainConfig
from guided.training.data import LabelledImages
from guided.training.precision import Precision
from guided.training.pretrain import build_model, pretrain

ARMS: dict[str, list[Guidance]] = {
    "unguided": [],
    "DeformablePCA": [DeformablePCA()],
    "ExcitationInhibition": [ExcitationInhibition(attributes={"class": 32})],
}
BATCH = 128
PRODUCT = "matrix product"

Clock = Callable[[], float]


class TextbookVAE(nn.Module):
    """The network that ``Conv4`` and its decoder are, written down in torch's layers."""

    def __init__(self, channels: int, size: int, width: int, latent_dim: int, pool: bool) -> None:
        super().__init__()
        encoder, decoder = [], []
        for i in range(4):
            wider, half = channels if i == 0 else width, size // 2 if pool else (size + 1) // 2
            encoder += [
                nn.Conv2d(wider, width, 3, stride=1 if pool else 2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                *([nn.MaxPool2d(2)] if pool else []),
            ]
            padding = int(size <= 2 * half)  # without it, one more than twice: what pooling dropped
            extra = size - (2 * half - 1) if padding else 0
            up = nn.ConvTranspose2d(
                width, wider, 3, stride=2, padding=padding, output_padding=extra, bias=i == 0
            )
            decoder = [up, *([nn.BatchNorm2d(width), nn.ReLU()] if i else []), *decoder]
            size = half
        features = width * size * size
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.moments = nn.Linear(features, 2 * latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, features), nn.Unflatten(1, (width, size, size)), *decoder
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.moments(self.encoder(images)).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        return self.decoder(z), mean, logvar


def textbook(
    config: PretrainConfig, images: LabelledImages, width: int, downsample: str
) -> TextbookVAE:
    channels, size = images.images.shape[1:3]
    return TextbookVAE(channels, size, width, config.latent_dim, downsample == "pool")


def textbook_loss(vae: TextbookVAE, images: Tensor) -> Tensor:
    decoded, mean, logvar = vae(images)
    reconstruction = F.binary_cross_entropy_with_logits(decoded, images, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    return (reconstruction + kl) / len(images)


class Pictures(Dataset):
    """PIL images in memory, in the manner of torchvision's MNIST."""

    def __init__(self, bank: ImageBank) -> None:
        self.pixels = bank.images.permute(0, 2, 3, 1).squeeze(3)
        self.labels = bank.labels
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = Image.fromarray(self.pixels[index].numpy()), int(self.labels[index])
        return self.transform(image), label


def warm_up(steps: int) -> int:
    """Steps before so many that are timed."""
    return max(1, steps // 4)


def forever(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


def train_textbook(
    vae: TextbookVAE, loader: DataLoader, steps: int, device: str, clock: Clock
) -> float:
    """Seconds of so many steps."""
    vae.train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    running_loss = 0.0
    for step, (images, _) in enumerate(forever(loader)):
        if step == warm_up(steps):
            start = clock()
        if step == warm_up(steps) + steps:
            break
        optimizer.zero_grad()
        loss = textbook_loss(vae, images.to(device))
        loss.backward()
        optimizer.step()
        running_loss += loss.item()
    return clock() - start


def train_ours(
    config: PretrainConfig,
    images: LabelledImages,
    clock: Clock,
    device: torch.device,
    precision: Precision,
) -> float:
    """Seconds of all steps after the first few."""
    marks: list[float] = []

    def mark(encoder: Encoder) -> float:
        synchronise(device.type)
        marks.append(clock())
        return 0.0

    few = LabelledImages(images.images[:2])
    pretrain(images, few, config, device=device, precision=precision, score=mark)
    return marks[-1] - marks[0]


def check(config: PretrainConfig, images: LabelledImages, vae: TextbookVAE) -> None:
    """With the same weights, batch and noise, both have the same loss and gradient.

    In double precision: batch norm and ReLU make much of single precision's rounding errors.

    Raises:
        RuntimeError: they do not.
    """
    model, vae = build_model(config, images, seed=0).double(), copy.deepcopy(vae).double()
    with torch.no_grad():
        for mine, its in zip(model.parameters(), vae.parameters(), strict=True):
            its.copy_(mine)
    batch = images.images[:BATCH].double() / 255
    objective = model.objective(batch, {}, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    loss = textbook_loss(vae, batch)
    for total in (objective.total, loss):
        total.backward()
    gradients = [next(m.parameters()).grad for m in (model, vae)]
    for name, (a, b) in {"loss": (objective.total, loss), "gradient": gradients}.items():
        if not torch.allclose(a, b, rtol=1e-8, atol=1e-8):
            raise RuntimeError(f"{name}: ours is {a}, the textbook loop's {b}")


def operations(config: PretrainConfig, images: LabelledImages) -> float:
    """Floating-point operations of a training step, per image."""
    model = build_model(config, images, seed=0).train()
    batch = images.images[:BATCH].float() / 255
    targets = {name: values[:BATCH] for name, values in images.labels.items()}
    with FlopCounterMode(display=False) as counter:
        objective = model.objective(batch, targets)
        objective.total.backward()
        for loss in model.adversary_losses(objective.z, targets).values():
            loss.backward()
    return counter.get_total_flops() / BATCH


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if not arguments.default_malloc:
        reuse_memory()  # as the command does; the peer has it too
    clock = process_time if arguments.processor_time else perf_counter
    device, precision = torch.device(arguments.device), arguments.precision
    bank = load_bank(arguments.dataset, "train")
    images = LabelledImages(bank.images, bank.targets())
    width, downsample, steps = arguments.width, arguments.downsample, arguments.steps
    configs = {arm: configuration(guided, width, downsample, steps) for arm, guided in ARMS.items()}
    vae = textbook(configs["unguided"], images, width, downsample)
    check(configs["unguided"], images, vae)
    vae.to(device)
    flops = {arm: operations(config, images) for arm, config in configs.items()}
    data = images.to(device)

    def ours(arm: str) -> Contender:
        return Contender(
            arm, BATCH * steps, lambda: train_ours(configs[arm], data, clock, device, precision)
        )

    def loop(workers: int) -> Contender:
        loader = DataLoader(
            Pictures(bank), BATCH, shuffle=True, drop_last=True, num_workers=workers
        )
        return Contender(
            f"textbook loop, {workers} workers",
            BATCH * steps,
            lambda: train_textbook(vae, loader, steps, arguments.device, clock),
        )

    first, *others = map(ours, configs)
    contenders = [first, loop(0), *others]
    if not arguments.processor_time:
        contenders.append(loop(2))
    contenders.append(
        Contender(PRODUCT, matrix_product_flops(arguments.device), matrix_product(arguments.device))
    )
    rate = rates(contenders, arguments.repeats, processor_time=arguments.processor_time)
    report(rate, flops)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Pretraining, against a textbook loop.")
    add_dataset_argument(parser, fallback="glyphs")
    parser.add_argument("--width", type=int, default=32, help="of Conv4; 32: the quickstart's")
    parser.add_argument("--downsample", choices=("stride", "pool"), default="stride")
    parser.add_argument(
        "--default-malloc", action="store_true", help="freed memory goes back to the kernel"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32", help="ours")
    parser.add_argument("--steps", type=int, default=20, help="timed, of one run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="for a machine that is busy, with --threads 1; leaves out the loop with workers",
    )
    arguments = parser.parse_args()
    if arguments.processor_time and arguments.threads > 1:
        parser.error("--processor-time: adds up what the threads take; needs --threads 1")
    return arguments


def configuration(
    guidance: list[Guidance], width: int, downsample: str, steps: int
) -> PretrainConfig:
    return PretrainConfig(
        backbone=partial(Conv4, width=width, downsample=downsample),
        guidance=guidance,
        batch_size=BATCH,
        steps=warm_up(steps) + steps,
        validate_every=warm_up(steps),
    )


def report(rate: dict[str, float], flops: dict[str, float]) -> None:
    alone = rate["textbook loop, 0 workers"]
    peak = rate.pop(PRODUCT)
    rows = []
    for name, images in rate.items():
        per_image = flops.get(name, flops["unguided"])
        achieved = images * per_image
        rows.append(
            (name, images, images / alone, per_image / 1e6, achieved / 1e9, 100 * achieved / peak)
        )
    print_table(
        ("pretraining", "images/s", "ratio", "MFLOP/image", "GFLOP/s", "% of matrix product"), rows
    )
    print(f"large float32 matrix product: {peak / 1e9:.0f} GFLOP/s")
    print(f"ratio {rate['unguided'] / alone:.2f}")


if __name__ == "__main__":
    main()
