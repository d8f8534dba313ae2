"""A sign of posterior collapse that needs no KL, from chains of each image."""

import numpy as np
from numpy.typing import NDArray


def image_to_chain_variance(z: NDArray[np.floating]) -> NDArray[np.floating]:
    """The variance of each latent over images, over its variance over the chains of an image.

    The first is that of the images' posterior means, estimated by the mean over the chains less
    what their number leaves in it; the second is averaged over images. The ratio is near 0, on
    either side, for a latent that ignores its image (posterior collapse), and above 1 for one
    whose image says more than its chain. Of a Gaussian posterior it is Var[mean] / E[variance].

    Args:
        z: at least 2 independent chains of at least 2 images, ``[M, N, d]``.

    Returns:
        ``[d]``; infinite where all chains of an image agree and images differ.
    """
    within = z.var(0, ddof=1).mean(0)
    between = z.mean(0).var(0, ddof=1) - within / len(z)
    known = np.where(between > 0, np.inf, 0.0)
    return np.divide(between, within, out=known, where=within > 0)
