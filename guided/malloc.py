"""Reuse of freed memory by the C library."""

import ctypes

# glibc's <malloc.h>
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def reuse_memory() -> bool:
    """Keep the memory of freed tensors in this process for the next ones.

    By default glibc returns blocks of 32 MiB and more (a batch of activations at 84×84) to the
    kernel at once, which clears every page before it is used again: nearly half of the time of a
    training. Afterwards the process never shrinks.

    Returns:
        False if the C library has no mallopt.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; macOS; Windows
        return False
    largest = 2**31 - 1  # of a C int
    done = [mallopt(option, largest) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)]
    return all(done)
