"""Two processes on a CPU against one, and the shares that they have."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from guided.errors import InputError
from guided.normalisation import BatchNorm1d, BatchNorm2d
from guided.parallel import Share, average_gradients, sharing, standard_normal, uniform


def test_parts_are_disjoint_and_cover_the_batch() -> None:
    parts = [list(range(12))[Share(rank, 3).part(12)] for rank in range(3)]
    assert sum(parts, []) == list(range(12))  # noqa: RUF017
    with pytest.raises(InputError, match="devices: 3 cannot share 13 equally"):
        Share(0, 3).part(13)


@pytest.mark.parametrize("copies", [1, 2])
def test_random_numbers_are_the_whole_batchs(copies: int) -> None:
    """A batch of views: one view of all images, then the other, in each process too."""
    views = torch.arange(copies * 6).view(copies, 6)
    normal = standard_normal(torch.empty(copies * 6, 3), torch.Generator().manual_seed(1))
    amounts = uniform(5, copies * 6, torch.Generator().manual_seed(1), torch.device("cpu"))
    for rank in range(2):
        share = Share(rank, 2, copies)
        rows = views[:, share.part(6)].flatten()
        with sharing(share):
            own = standard_normal(torch.empty(copies * 3, 3), torch.Generator().manual_seed(1))
            part = uniform(5, copies * 3, torch.Generator().manual_seed(1), torch.device("cpu"))
        assert torch.equal(own, normal[rows])
        assert torch.equal(part, amounts[:, rows])


def test_one_process_shares_nothing() -> None:
    with sharing(Share(0, 1)):
        own = standard_normal(torch.empty(4, 3), torch.Generator().manual_seed(1))
    assert torch.equal(own, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)))


def network(spatial: bool) -> nn.Sequential:
    torch.manual_seed(0)
    if spatial:
        conv = nn.Conv2d(2, 3, 3)
        return nn.Sequential(
            conv, BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)
        ).double()
    return nn.Sequential(nn.Linear(4, 3), BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)).double()


def batch(spatial: bool) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(2)
    shape = (8, 2, 6, 6) if spatial else (8, 4)
    images = torch.randn(shape, generator=rng, dtype=torch.float64)
    # The halves differ, so that statistics of one's own would show.
    images[4:] = 3 * images[4:] + 1
    return images, torch.randn(8, 2, generator=rng, dtype=torch.float64)


def step(model: nn.Sequential, images: Tensor, target: Tensor) -> None:
    (model(images) - target).square().mean().backward()


def _worker(rank: int, spatial: bool, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    model, (images, target) = network(spatial), batch(spatial)
    share = Share(rank, 2)
    with sharing(share):
        step(model, images[share.part(8)], target[share.part(8)])
    average_gradients(model.parameters())
    gradients = [p.grad for p in model.parameters()]
    torch.save((gradients, dict(model.named_buffers())), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("spatial", [False, True])
def test_two_processes_take_the_step_of_one(spatial: bool, tmp_path: Path) -> None:
    model = network(spatial)
    step(model, *batch(spatial))
    # Forked: a fresh interpreter would not find this file's functions.
    start_processes(_worker, (spatial, str(tmp_path)), nprocs=2, start_method="fork")
    for rank in range(2):
        gradients, buffers = torch.load(tmp_path / f"{rank}.pt")
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-10, atol=1e-12)
        for name, value in model.named_buffers():
            torch.testing.assert_close(buffers[name], value, rtol=1e-10, atol=1e-12)
