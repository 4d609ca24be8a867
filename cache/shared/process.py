"""The process: its memory, and the output of C libraries."""

import ctypes
import faulthandler
import os
import sys
from contextlib import suppress

# The parameters of glibc's mallopt(), from malloc.h, and their value in bytes: more than a clip that is read whole, or
# a batch of clips, takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20


def keep_freed_memory() -> None:
    """Let malloc keep freed memory: new memory from the system takes as long as the computation in it."""
    with suppress(OSError, AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def silence_libraries() -> None:
    """Send file descriptors 1 and 2 nowhere, while `sys.stdout` and `sys.stderr` write where they did before.

    mpg123 reports damaged frames on descriptor 2, and libsndfile prints parts of a Sample Dump file on descriptor 1.
    Streams that a notebook or a test put in place of Python's own are not changed.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            if stream is None or stream.fileno() != descriptor:
                continue
        except OSError:  # such a stream has no descriptor
            continue
        stream.flush()
        buffering = 1 if stream.line_buffering else -1
        ours = os.fdopen(os.dup(descriptor), "w", buffering, stream.encoding, stream.errors, "\n")
        setattr(sys, name, ours)
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    if faulthandler.is_enabled():
        faulthandler.enable()
