"""Seconds per MAML meta-iteration of each engine, against learn2learn's plain loop.

One meta-iteration: 32 tasks, 5-way 1-shot, 15 queries, one inner step, Adam; Conv4-64 with a
linear classifier, strided and pooled, second and first order. The plain loop is the one of
learn2learn's examples (``MAML.clone``, ``adapt``, ``backward`` for each task), on the same network
written in torch's layers, with batch norm in training mode, its default memory layout, and the
same images in memory. All take turns; the times are medians of wall-clock time.

Given the same weights and images, all must have the same loss and gradients.

Beside the measured time: the arithmetic floor, i.e. the floating-point operations of the plain
loop (convolutions and matrix products, by torch's FlopCounterMode) at the rate of a large float32
matrix product, which takes its turn with the others.

The last lines are ratios to the plain loop, second order, of the engine that is the device's
default: pooled, then strided.
"""

import argparse
import copy
import warnings

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
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fewshot.episodes import Episodes, Setting
from fewshot.learners.gradient.adaptation import Engine
from fewshot.learners.gradient.maml import MAML
from fewshot.sampler import EpisodeSampler
from guided.backbones import Conv4
from guided.encoder import Encoder
from guided.malloc import reuse_memory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import learn2learn as l2l

SETTING = Setting(n_way=5, n_shot=1, n_query=15)
RATE = 0.4
PRODUCT = "matrix product"


class Textbook(nn.Sequential):
    """Conv4 and a linear classifier in torch's own layers."""

    def __init__(self, channels: int, width: int, downsample: str, features: int) -> None:
        layers: list[nn.Module] = []
        for i in range(4):
            stride = 2 if downsample == "stride" else 1
            wider = channels if i == 0 else width
            layers += [
                nn.Conv2d(wider, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            layers += [nn.MaxPool2d(2)] if downsample == "pool" else []
        super().__init__(*layers, nn.Flatten(), nn.Linear(features, SETTING.n_way))


class Plain:
    """learn2learn's example loop."""

    def __init__(self, network: nn.Module, first_order: bool) -> None:
        self.maml = l2l.algorithms.MAML(network, lr=RATE, first_order=first_order)
        self.optimizer = torch.optim.Adam(self.maml.parameters(), lr=1e-3)

    def gradients(self, episodes: Episodes) -> Tensor:
        """Accumulates the gradients of the mean loss, which it returns."""
        support_labels, query_labels = episodes.support_labels(), episodes.query_labels()
        self.optimizer.zero_grad()
        total = 0.0
        for support, query in zip(episodes.support, episodes.query, strict=True):
            learner = self.maml.clone()
            learner.adapt(F.cross_entropy(learner(support.flatten(0, 1)), support_labels))
            loss = F.cross_entropy(learner(query.flatten(0, 1)), query_labels)
            loss.backward()
            total += loss.detach()
        for parameter in self.maml.parameters():
            parameter.grad.data.mul_(1.0 / len(episodes))
        return total / len(episodes)

    def step(self, episodes: Episodes) -> None:
        self.gradients(episodes)
        self.optimizer.step()


class Ours:
    """A learner's loss, as ``fewshot.meta_train.meta_train`` uses it."""

    def __init__(self, learner: MAML) -> None:
        self.learner = learner.train()
        self.optimizer = torch.optim.Adam(learner.parameters(), lr=1e-3, fused=True)

    def gradients(self, episodes: Episodes) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.learner.loss(episodes)
        loss.backward()
        return loss.detach()

    def step(self, episodes: Episodes) -> None:
        self.gradients(episodes)
        self.optimizer.step()


def pair(
    downsample: str, first_order: bool, width: int, shape: tuple[int, int, int], engine: Engine
) -> tuple[Plain, Ours]:
    """Both loops around the same weights."""
    torch.manual_seed(0)
    encoder = Encoder(Conv4(shape, width=width, downsample=downsample), None)
    learner = MAML(
        encoder,
        learning_rate=RATE,
        first_order=first_order,
        batch_norm="transductive",
        engine=engine,
    )
    network = Textbook(shape[0], width, downsample, encoder.out_dim)
    with torch.no_grad():
        for its, mine in zip(network.parameters(), learner.parameters(), strict=True):
            its.copy_(mine)
    return Plain(network, first_order), Ours(learner)


def check(plain: Plain, ours: Ours, episodes: Episodes) -> None:
    """The same loss and gradients, in double precision.

    Raises:
        RuntimeError: they are not.
    """
    plain, ours = copy.deepcopy(plain), copy.deepcopy(ours)
    plain.maml.double()
    ours.learner.double()
    few = Episodes(episodes.support[:2].double(), episodes.query[:2].double())
    losses = plain.gradients(few), ours.gradients(few)
    both = zip(plain.maml.parameters(), ours.learner.parameters(), strict=True)
    for a, b in [losses, *((p.grad, q.grad) for p, q in both)]:
        if not torch.allclose(a, b, rtol=1e-6, atol=1e-9):
            raise RuntimeError(f"ours has {b}, learn2learn's plain loop {a}")


def operations(plain: Plain, episodes: Episodes) -> float:
    """Floating-point operations of a meta-iteration."""
    one = Episodes(episodes.support[:1], episodes.query[:1])
    with FlopCounterMode(display=False) as counter:
        plain.gradients(one)
    return float(counter.get_total_flops()) * len(episodes)


def main() -> None:
    parser = argparse.ArgumentParser(description="MAML, against learn2learn's plain loop.")
    add_dataset_argument(parser, fallback="glyphs")
    parser.add_argument("--tasks", type=int, default=32)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    reuse_memory()  # as the command does; the peer has it too
    device = arguments.device
    bank = load_bank(arguments.dataset, "train")
    rows = EpisodeSampler(bank, SETTING, seed=0).batch(0, arguments.tasks)
    episodes = rows.gather(bank.images.float() / 255)
    engines: list[Engine] = ["looped", "vectorised"]
    contenders = [Contender(PRODUCT, matrix_product_flops(device), matrix_product(device))]
    flops: dict[str, float] = {}
    on_device = episodes.to(torch.device(device))
    for downsample in ("stride", "pool"):
        for order in ("second", "first"):
            name = f"{downsample}, {order} order"
            loops: dict[str, Plain | Ours] = {}
            for engine in engines:
                plain, ours = pair(
                    downsample, order == "first", arguments.width, bank.image_shape, engine
                )
                check(plain, ours, episodes)
                loops |= {"plain loop": plain, engine: ours}
            flops[name] = operations(plain, episodes)
            plain.maml.to(device)
            for label, loop in loops.items():
                if isinstance(loop, Ours):
                    loop.learner.to(device)

                def run(loop: Plain | Ours = loop) -> None:
                    loop.step(on_device)
                    synchronise(device)

                contenders.append(Contender(f"{name}: {label}", 1, run))
    report(rates(contenders, arguments.repeats), flops, device)


def report(rate: dict[str, float], flops: dict[str, float], device: str) -> None:
    peak = rate.pop(PRODUCT)
    default = "vectorised" if device == "cuda" else "looped"
    rows, ratios = [], {}
    for label, per_second in rate.items():
        name, engine = label.split(": ")
        floor = flops[name] / peak
        ratio = per_second / rate[f"{name}: plain loop"]
        rows.append((label, 1 / per_second, floor, 100 * floor * per_second, ratio))
        if engine == default and "second" in name:
            ratios[name] = ratio
    print_table(("meta-iteration", "seconds", "floor", "floor in %", "ratio"), rows)
    print(f"large float32 matrix product: {peak / 1e9:.0f} GFLOP/s")
    print(f"pooled, {default}: ratio {ratios['pool, second order']:.2f}")
    print(f"strided, {default}:\nratio {ratios['stride, second order']:.2f}")


if __name__ == "__main__":
    main()
