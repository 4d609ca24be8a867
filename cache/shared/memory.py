"""keep_freed_memory(): what one clip or batch frees is there for the next."""

import ctypes
from contextlib import suppress

# glibc's mallopt(): its numbers of what is set, from malloc.h, and bytes, more than a clip takes that is read whole or
# a batch of clips of all columns.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Have malloc keep what is freed: memory fresh from the system costs as much as what is computed in it."""
    with suppress(OSError, AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
