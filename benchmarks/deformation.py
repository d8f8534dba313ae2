"""Pairs of images a second of deformation matching, against a plain loop over pairs.

Ours is ``deformation_costs`` for the episodes of an evaluation at its defaults: 28 × 28 pixels, the
image and its two derivatives, contexts of 3 × 3, displacements of at most ``--window`` pixels, both
directions. The loop takes one pair after the other, as it is usually written: for each displacement
the squared difference of all pixels, its mean over the context by two sums along the axes, and the
least so far, in numpy, vectorised over pixels. Features are computed beforehand for both. They take
turns, medians; both must give the same costs.

Then the floating-point operations of the definition (for each pixel and displacement, a product of
two vectors that hold the context), what that makes a second, and as a share of the rate of a large
float32 matrix product, which takes its turn with the others; and the time that 1,000 episodes take.

The last line is the smaller ratio to the loop, of the 20-way and the 5-way setting.
"""

import argparse

import numpy as np
import torch
from _timing import (
    Contender,
    matrix_product,
    matrix_product_flops,
    print_table,
    rates,
    synchronise,
)
from numpy.typing import NDArray
from torch import Tensor

from fewshot.learners.deformation.distortion import deformation_costs, image_features
from guided.malloc import reuse_memory

SIDE, CONTEXT, SHOTS, QUERIES = 28, 3, 1, 15
WAYS = (20, 5)
LOOPED = 40  # pairs in one run of the loop
PRODUCT = "matrix product"

Array = NDArray[np.float32]


def loop(query: Array, support: Array, window: int) -> float:
    """Cost of one pair, of features ``[F, H, W]``: the mean of both directions."""
    reach = CONTEXT // 2
    around = ((0, 0), (reach, reach), (reach, reach))
    query, support = (np.pad(x, around, mode="edge") for x in (query, support))
    of_query, of_support = np.full((2, SIDE, SIDE), np.inf, np.float32)
    for down in range(-window, window + 1):
        for right in range(-window, window + 1):
            rows, columns = (slice(max(0, -d), SIDE - max(0, d)) for d in (down, right))
            there = (
                slice(rows.start + down, rows.stop + down),
                slice(columns.start + right, columns.stop + right),
            )
            wide = [slice(s.start, s.stop + 2 * reach) for s in (rows, columns, *there)]
            difference = query[:, wide[0], wide[1]] - support[:, wide[2], wide[3]]
            cost = (difference**2).sum(0)
            for axis in (0, 1):
                length = cost.shape[axis] - 2 * reach
                parts = [np.take(cost, range(i, i + length), axis) for i in range(CONTEXT)]
                cost = sum(parts[1:], parts[0])
            np.minimum(of_query[rows, columns], cost, out=of_query[rows, columns])
            np.minimum(of_support[there], cost, out=of_support[there])
    return float(of_query.mean() + of_support.mean()) / (2 * CONTEXT**2)


def images(n_episodes: int, n: int, device: str) -> Tensor:
    """Features of smooth random images ``[n_episodes, n, 3, 28, 28]``."""
    drawn = torch.rand(n_episodes * n, 1, 7, 7, generator=torch.Generator().manual_seed(n))
    smooth = torch.nn.functional.interpolate(drawn, (SIDE, SIDE), mode="bilinear")
    features = image_features(smooth, 2)
    return features.unflatten(0, (n_episodes, n)).to(device)


def contenders(way: int, window: int, device: str, n_episodes: int) -> list[Contender]:
    query = images(n_episodes, way * QUERIES, device)
    support = images(n_episodes, way * SHOTS, device)
    few = query[0, :LOOPED].cpu().numpy(), support[0, 0].cpu().numpy()

    def ours() -> Tensor:
        costs = deformation_costs(query, support, window=window, context=CONTEXT)
        synchronise(device)
        return costs

    def plain() -> list[float]:
        return [loop(one, few[1], window) for one in few[0]]

    found, expected = ours()[0, :LOOPED, 0].cpu().numpy(), np.array(plain())
    if not np.allclose(found, expected, rtol=1e-4):
        raise RuntimeError(f"costs differ by {np.abs(found - expected).max():.2g}")
    pairs = query.shape[1] * support.shape[1] * n_episodes
    return [
        Contender(f"{way}-way, ours", pairs, ours),
        Contender(f"{way}-way, loop", LOOPED, plain),
    ]


def pair_flops(window: int) -> float:
    """Multiplications and additions of one pair, without displacements that leave the image."""
    inside = sum(SIDE - abs(d) for d in range(-window, window + 1)) ** 2
    return 2.0 * 3 * CONTEXT**2 * inside


def main() -> None:
    parser = argparse.ArgumentParser(description="Deformation matching, against a plain loop.")
    parser.add_argument("--window", type=int, default=3, help="largest displacement")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine")
    arguments = parser.parse_args()
    if arguments.processor_time and arguments.threads > 1:
        parser.error("--processor-time: adds up what the threads take; needs --threads 1")
    torch.set_num_threads(arguments.threads)
    reuse_memory()  # as the command does
    device = arguments.device
    episodes = 4 if device == "cpu" else 64
    measured = [
        contender
        for way in WAYS
        for contender in contenders(way, arguments.window, device, episodes * WAYS[0] // way)
    ]
    measured.append(Contender(PRODUCT, matrix_product_flops(device), matrix_product(device)))
    rate = rates(measured, arguments.repeats, processor_time=arguments.processor_time)
    report(rate, arguments.window)


def report(rate: dict[str, float], window: int) -> None:
    peak, rows, ratios = rate[PRODUCT], [], []
    for way in WAYS:
        ours, plain = (rate[f"{way}-way, {who}"] for who in ("ours", "loop"))
        ratios.append(ours / plain)
        achieved = ours * pair_flops(window)
        minutes = 1000 * way**2 * QUERIES * SHOTS / ours / 60
        share = 100 * achieved / peak
        rows.append((f"{way}-way", ours, plain, ratios[-1], achieved / 1e9, share, minutes))
    header = ("pairs a second", "ours", "loop", "ratio", "GFLOP/s", "% of matrix product")
    print_table((*header, "minutes for 1,000 episodes"), rows)
    print(f"large float32 matrix product: {peak / 1e9:.0f} GFLOP/s")
    print(f"ratio {min(ratios):.1f}")


if __name__ == "__main__":
    main()
