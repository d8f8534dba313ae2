"""Which latent means what: named slices of the latent vector."""

from collections.abc import Mapping
from dataclasses import dataclass

from guided.errors import InputError

REST = "content"
"""The name of the latents that no guidance claimed."""


@dataclass(frozen=True)
class LatentLayout:
    """Named, disjoint slices that together cover latents 0 … ``latent_dim`` - 1, in order.

    Attributes:
        slices: ``{"rotation": (0, 1), "scale": (1, 2), "content": (2, 64)}``: name -> (start,
            stop).
    """

    slices: Mapping[str, tuple[int, int]]

    @property
    def latent_dim(self) -> int:
        return max((stop for _, stop in self.slices.values()), default=0)

    def indices(self, *names: str) -> list[int]:
        """The latents of some slices; ``all`` names every latent.

        Raises:
            InputError: a name that the layout does not have.
        """
        if names == ("all",):
            return list(range(self.latent_dim))
        for name in names:
            if name not in self.slices:
                raise InputError(
                    f"latents: no slice is called {name!r}; "
                    f"there are: all, {', '.join(self.slices)}"
                )
        return [i for name in names for i in range(*self.slices[name])]

    def complement(self, *names: str) -> list[int]:
        """The latents outside some slices, ascending."""
        inside = set(self.indices(*names))
        return [i for i in range(self.latent_dim) if i not in inside]

    def labels(self) -> list[str]:
        """A label for each latent: ``rotation``, ``content 0``, ``content 1`` …"""
        return [
            name if stop - start == 1 else f"{name} {i - start}"
            for name, (start, stop) in self.slices.items()
            for i in range(start, stop)
        ]


class LatentAllocator:
    """Hands out slices of the latent vector in the order in which they are asked for."""

    def __init__(self, latent_dim: int) -> None:
        self.latent_dim = latent_dim
        self._slices: dict[str, tuple[int, int]] = {}
        self._next = 0

    def take(self, name: str, width: int = 1) -> list[int]:
        """Reserve the next ``width`` latents under a name; returns their indices.

        Raises:
            InputError: the name is taken, or too few latents are left.
        """
        if name in self._slices or name in (REST, "all", "features"):
            raise InputError(f"guidance: the latent slice {name!r} is asked for twice or reserved")
        if width < 1 or self._next + width > self.latent_dim:
            raise InputError(
                f"guidance: {name!r} asks for {width} latents, "
                f"{self.latent_dim - self._next} of latent_dim {self.latent_dim} are left"
            )
        start = self._next
        self._next += width
        self._slices[name] = (start, self._next)
        return list(range(start, self._next))

    def share(self, name: str) -> list[int]:
        """The latent of that name: the one that was handed out, or the next.

        For what several strategies mean by the same latent.

        Raises:
            InputError: the name stands for several latents, or none is left.
        """
        if name not in self._slices:
            return self.take(name)
        start, stop = self._slices[name]
        if stop > start + 1:
            raise InputError(f"guidance: one latent {name!r} is asked for, it has {stop - start}")
        return [start]

    def layout(self) -> LatentLayout:
        """What was handed out; the latents that nobody asked for are called ``content``."""
        rest = {REST: (self._next, self.latent_dim)} if self._next < self.latent_dim else {}
        return LatentLayout({**self._slices, **rest})
