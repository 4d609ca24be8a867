"""keep_memory(): let glibc's malloc keep the large blocks that TensorFlow frees at every step."""

import ctypes
from contextlib import suppress

# From malloc.h, and what each is set to.
_OPTIONS = (
    (-4, 0),  # M_MMAP_MAX: large blocks come from the heap, not from a mapping that is gone as soon as they are freed
    (-1, 2**31 - 1),  # M_TRIM_THRESHOLD: the end of the heap is not given back
    (-2, 64 * 2**20),  # M_TOP_PAD: it grows by so many bytes at a time, which cost no memory until they are used
)


def keep_memory() -> bool:
    """Keep freed memory in the process from now on, where malloc is glibc's; elsewhere do nothing.

    By default a block of more than 32 MiB is mapped and unmapped anew in every step, and the kernel has to clear its
    pages each time. With oneDNN, the default on x86-64, TensorFlow pools its large tensors itself and this changes
    little; without it, it halves the page faults. Freed blocks are used again, so memory stays at its peak.

    Returns
    -------
    bool
        Whether malloc took the settings.
    """
    # Windows has no library without a name.
    with suppress(OSError, TypeError):
        libc = ctypes.CDLL(None)
        # musl and macOS lack the second.
        if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version"):
            return sum(int(libc.mallopt(option, value)) for option, value in _OPTIONS) == len(_OPTIONS)
    return False
