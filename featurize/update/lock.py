"""One writer at a time: a lock beside the cache that vanishes with its holder."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from cache.shared.errors import UserError

# What a file system without flock() says to it.
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def writing(cache_file: Path, wait: bool, notify: Callable[[str], None]) -> Iterator[bool]:
    """Hold the right to write a cache.

    The lock is the operating system's (flock), so it goes when its holder dies, however it dies. On a file system
    without flock the lock is that a file exists which names its holder. After a holder that was killed, the next run
    on the same machine takes such a file away; on another machine it counts as held until somebody deletes it.

    Parameters
    ----------
    cache_file
        The cache.
    wait
        Wait for another writer to finish instead of giving up.
    notify
        Takes notices for the user, a line each.

    Yields
    ------
    bool
        Whether another writer was waited for.

    Raises
    ------
    UserError
        Another process is writing the cache.
    """
    lock, path = _first_try(cache_file, notify)
    waited = not lock.is_locked
    if waited and not wait:
        raise UserError(f"{_holder(path)} is writing {cache_file}; let it finish, or wait for it with --wait")
    try:
        if waited:
            notify(f"{_holder(path)} is writing {cache_file}; waiting for it")
            lock.acquire()
        yield waited
    finally:
        # While it is held nobody else can take it: whoever waits for this file sees that it has gone and tries anew.
        if lock.is_locked and not isinstance(lock, SoftFileLock):
            with suppress(OSError):
                path.unlink()
        lock.release()


def _first_try(cache_file: Path, notify: Callable[[str], None]) -> tuple[BaseFileLock, Path]:
    """Return the lock, held if it was free, and the file it is on."""
    path = cache_file.with_name(cache_file.name + ".lock")
    lock = FileLock(path, on_acquired=_sign)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
    else:
        return lock, path
    # The attempt made the file; that the lock by existence has another name keeps the two apart.
    with suppress(OSError):
        path.unlink()
    path = cache_file.with_name(cache_file.name + ".locked")
    notify(f"{path.parent} is on a file system without locks; while {path.name} is there, nobody else writes the cache")
    soft = SoftFileLock(path)
    with suppress(Timeout):
        soft.acquire(timeout=0)
    return soft, path


def _sign(file: int) -> None:
    # Only for the message to others: a disk too full for it must not be in the way of the run that makes room.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)


def _holder(path: Path) -> str:
    try:
        return f"process {int(path.read_text().split()[0])}"
    except (OSError, ValueError, IndexError):
        return "another process"
