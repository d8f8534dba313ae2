"""The check that embeddings are numbers."""

from collections.abc import Callable

from torch import Tensor

from guided.errors import InputError


def check_embeddings(embeddings: Tensor, name_of: Callable[[int], str] | None = None) -> Tensor:
    """The embeddings ``[N, …]``, unless one is NaN or infinite.

    Comparisons with NaN are false, so that it would pass for an answer: always the first class.

    Args:
        embeddings: of N images.
        name_of: row -> what its image is, for the message.

    Raises:
        InputError: counts the images, and names the first.
    """
    if not bool(embeddings.isfinite().all()):
        rows = embeddings.flatten(1).isfinite().all(1).logical_not().nonzero().flatten().tolist()
        first = name_of(rows[0]) if name_of else f"image {rows[0]}"
        raise InputError(
            f"the embeddings of {len(rows)} of {len(embeddings)} images are not finite (NaN or "
            f"infinite), the first that of {first}; train the encoder again, or take another"
        )
    return embeddings
