"""The process: its memory, and what C libraries print into it."""

import ctypes
import faulthandler
import os
import sys
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


def silence_libraries() -> None:
    """Send file descriptors 1 and 2 nowhere, and let `sys.stdout` and `sys.stderr` go on writing where they led.

    mpg123 reports damaged frames on descriptor 2, and libsndfile prints some of a Sample Dump file on descriptor 1.
    Streams that a notebook or a test has put in the place of Python's own are left alone.
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
        ours = os.fdopen(
            os.dup(descriptor),
            "w",
            encoding=stream.encoding,
            errors=stream.errors,
            newline="\n",
            buffering=1 if stream.line_buffering else -1,
        )
        setattr(sys, name, ours)
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    if faulthandler.is_enabled():
        faulthandler.enable()
