"""What the C library does with memory that a tensor no longer needs."""

import ctypes

# glibc's <malloc.h>
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def reuse_memory() -> bool:
    """Have this process keep the memory of freed tensors for the next ones.

    By default glibc gives every block from 32 MiB on (a batch of activations at 84×84) back to the
    kernel at once, which clears each page again before the next tensor may have it: nearly half of
    the time of a training. Afterwards a process is as large as it ever was.

    Returns:
        Whether there was something to be told: false where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl; macOS; Windows
        return False
    largest = 2**31 - 1  # of a C int
    done = [mallopt(option, largest) for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD)]
    return all(done)
