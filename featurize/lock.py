"""One writer at a time: a lock beside the cache that vanishes with its holder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from cache.terminal import UserError


@contextmanager
def writing(cache_file: Path, wait: bool) -> Iterator[None]:
    """Hold the right to write a cache.

    The lock is the operating system's (flock), so it goes when its holder dies, however it dies. On a file system
    without locks filelock keeps a file with the holder's name instead, which such a death may leave behind.

    Parameters
    ----------
    cache_file
        The cache.
    wait
        Wait for another writer to finish instead of giving up.

    Raises
    ------
    UserError
        Another process is writing the cache.
    """
    path = cache_file.with_name(cache_file.name + ".lock")
    lock = FileLock(path, on_acquired=_sign)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise UserError(f"{_holder(path)} is writing {cache_file}; let it finish, or wait for it with --wait") from None
    try:
        yield
    finally:
        # While it is held nobody else can take it: whoever waits for this file sees that it has gone and tries anew.
        with suppress(FileNotFoundError):
            path.unlink()
        lock.release()


def _sign(file: int) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, b"%d\n" % os.getpid(), 0)


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text())}"
    except (OSError, ValueError):
        return "another process"
