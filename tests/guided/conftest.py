"""What the tests of ``guided`` share."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

ImageMaker = Callable[..., Tensor]
Scalars = Callable[[Path], dict[str, dict[int, float]]]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and sums then have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_images() -> ImageMaker:
    """uint8 noise ``[n, channels, size, size]``, a function of its arguments."""

    def make(n: int = 8, channels: int = 1, size: int = 16, seed: int = 0) -> Tensor:
        rng = torch.Generator().manual_seed(seed)
        shape = (n, channels, size, size)
        return torch.randint(0, 256, shape, generator=rng, dtype=torch.uint8)

    return make


@pytest.fixture
def read_scalars() -> Scalars:
    """All scalars of a log folder: tag -> step -> value, as TensorBoard shows them."""

    def read(folder: Path) -> dict[str, dict[int, float]]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder))
        events.Reload()
        return {
            tag: {event.step: event.value for event in events.Scalars(tag)}
            for tag in events.Tags()["scalars"]
        }

    return read


@pytest.fixture
def next_second() -> Callable[[], None]:
    """Waits for the clock's next second: TensorBoard orders a folder's files by theirs."""

    def wait() -> None:
        time.sleep(1 - time.time() % 1)

    return wait
