"""Where a training runs: one process or several, on any device that Lightning Fabric knows."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from guided.errors import InputError
from guided.parallel import Share, average_gradients

Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Hardware:
    """What Lightning Fabric is asked for.

    Args:
        accelerator: cpu, cuda, or another that both torch and Fabric know.
        devices: processes, one device each; they share every batch.
        precision: 32-true, or bf16-mixed: forward passes in bfloat16 where torch's autocast does.
        strategy: how processes are started: auto, ddp (the command is started again for each).
    """

    accelerator: str = "cpu"
    devices: int = 1
    precision: Precision = "32-true"
    strategy: str = "auto"

    def __post_init__(self) -> None:
        if self.devices < 1:
            raise InputError(f"devices: expected at least 1, got {self.devices}")

    def start(self) -> "Processes":
        """Start the other processes, if there are to be any; returns in each of them.

        Raises:
            InputError: Fabric has no such accelerator or strategy, or this machine has not.
        """
        if self.devices == 1 and self.precision == "32-true" and self.strategy == "auto":
            return Processes(torch.device(self.accelerator))
        # Here, for its import takes as long as torch's own.
        from lightning_fabric import Fabric

        try:
            fabric = Fabric(
                accelerator=self.accelerator,
                devices=self.devices,
                precision=self.precision,
                strategy=self.strategy,
            )
        except (ValueError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"devices {self.devices}, precision {self.precision}, strategy {self.strategy} "
                f"on {self.accelerator}: {reason[:200]}"
            ) from error
        fabric.launch()
        return Processes(fabric.device, fabric.global_rank, fabric.world_size, fabric.autocast)


class Processes:
    """This process among those that train together.

    Args:
        device: where it computes.
        rank: its number, from 0.
        world: how many there are.
        autocast: makes the context of forward passes.
    """

    def __init__(
        self,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.device, self.rank, self.world, self.autocast = device, rank, world, autocast

    @staticmethod
    def of(device: "Device") -> "Processes":
        """Itself, or this process alone on a device."""
        return device if isinstance(device, Processes) else Processes(torch.device(device))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, copies: int = 1) -> Share:
        """This process's part of every batch, of images in so many views."""
        return Share(self.rank, self.world, copies)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Before an optimizer's step; nothing to do for one process."""
        if self.world > 1:
            average_gradients(parameters)


Device = torch.device | str | Processes
"""Where to compute: a device, or processes that share the work."""
