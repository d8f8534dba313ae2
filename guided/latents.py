"""The latent vector's named slices."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from guided.errors import InputError

REST = "content"
"""The name of the latents that no guidance reserved."""

DEFORMATION = "deformation"
"""The role of a latent that deforms the image, named after the deformation."""

ATTRIBUTE = "attribute"
"""The role of latents that carry labels, named after the attribute."""

FACTOR = "factor "
"""Begins the name of a target that is a quantity, named after the ground-truth factor."""


@dataclass(frozen=True)
class LatentLayout:
    """Named, disjoint slices that together cover latents 0 … ``latent_dim`` - 1, in order.

    Args:
        slices: ``{"rotation": (0, 1), "class": (1, 9), "content": (9, 64)}``: name -> (start,
            stop).
        roles: name -> role, for the slices that a guidance reserved under one:
            ``{"rotation": "deformation", "class": "attribute"}``. Roles say what can be measured.
    """

    slices: Mapping[str, tuple[int, int]]
    roles: Mapping[str, str] = field(default_factory=dict)

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

    def with_role(self, role: str) -> dict[str, tuple[int, int]]:
        """The slices of a role, name -> (start, stop), in order."""
        return {k: place for k, place in self.slices.items() if self.roles.get(k) == role}

    def labels(self) -> list[str]:
        """A label for each latent: ``rotation``, ``content 0``, ``content 1`` …"""
        return [
            name if stop - start == 1 else f"{name} {i - start}"
            for name, (start, stop) in self.slices.items()
            for i in range(start, stop)
        ]


class LatentAllocator:
    """Hands out slices of the latent vector in the order in which they are asked for.

    Args:
        latent_dim: length of the vector.
    """

    def __init__(self, latent_dim: int) -> None:
        self.latent_dim = latent_dim
        self._slices: dict[str, tuple[int, int]] = {}
        self._roles: dict[str, str] = {}
        self._next = 0

    def take(self, name: str, width: int = 1, role: str | None = None) -> list[int]:
        """Reserve the next latents under a name.

        Args:
            name: of the slice.
            width: latents in it.
            role: recorded in the layout.

        Returns:
            The indices of the latents.

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
        if role:
            self._roles[name] = role
        return list(range(start, self._next))

    def share(self, name: str, role: str | None = None) -> int:
        """The single latent of a name that several strategies may use; reserved if it is new.

        Raises:
            InputError: the name stands for several latents, or none is left.
        """
        if name not in self._slices:
            return self.take(name, role=role)[0]
        start, stop = self._slices[name]
        if stop > start + 1:
            raise InputError(f"guidance: one latent {name!r} is asked for, it has {stop - start}")
        return start

    def layout(self) -> LatentLayout:
        """The slices handed out so far, and ``content``: the latents that nobody asked for."""
        rest = {REST: (self._next, self.latent_dim)} if self._next < self.latent_dim else {}
        return LatentLayout({**self._slices, **rest}, dict(self._roles))


def attributes_in(name: str) -> tuple[str, ...]:
    """The attributes that a slice's name refers to.

    ``drawer`` and ``alphabet`` for ``drawer within alphabet``, the name alone for any other.
    """
    return tuple(name.split(" within ", maxsplit=1))
