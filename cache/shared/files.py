"""Files: read only if they are files, replaced whole or not at all, and locked by one process at a time."""

import errno
import hashlib
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cache.shared.errors import UserError
from cache.shared.text import human_size

if TYPE_CHECKING:
    from filelock import BaseFileLock

# The end of a file's name that stays in the temporary name: libraries tell formats by it. No more, or a long name
# would become one that the file system refuses.
_N_KEPT = 40

# The first bytes of a Git LFS pointer, and what to do about one.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LFS_REMEDY = "it is a Git LFS pointer, which only stands for the file; run `git lfs pull` to download the file itself"

# The errors of file systems that do not sync directories.
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP}

# The errors of flock() on file systems that do not have it.
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}

# The most bytes of a text that are read: two million lines or so of a table.
MAX_TEXT = 100_000_000

# See stamp_of().
Stamp = tuple[int, int, int, int]

_LINE_END = re.compile("\r\n|\r|\n")


def open_regular(file: Path) -> BinaryIO:
    """Open a regular file to read its bytes.

    Raises a UserError if it is a folder, or a pipe or a device, on which a program could wait or read for ever. Raises
    an OSError if it cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe waits for its other end.
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{file} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_text(file: Path, limit: int = MAX_TEXT) -> str:
    """Return the text of a file that somebody else may have written, in UTF-8 or, with a byte order mark, in UTF-16.

    Raises a UserError if it cannot be read, is not a regular file, has more bytes than the limit, is not text, or is a
    Git LFS pointer.
    """
    try:
        with open_regular(file) as raw:
            # Memory for as many bytes as are asked for is taken before they are read.
            content = raw.read(min(limit, os.fstat(raw.fileno()).st_size) + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from None
    if len(content) > limit:
        raise UserError(f"{file} is larger than the {human_size(limit)} that are read of such a file")
    if is_lfs_pointer(content):
        raise UserError(f"{file}: {LFS_REMEDY}")
    is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = None
    if text is None or "\0" in text:
        raise UserError(f"{file} is not UTF-8 text; save it again with the encoding UTF-8")
    return text


def read_lines(file: Path) -> list[str]:
    r"""Return the lines of a text file, as read_text() reads it, without their ends: \n, \r\n or \r, and no other.

    A file that ends with the end of a line has an empty last line.
    """
    return _LINE_END.split(read_text(file))


def is_lfs_pointer(head: bytes) -> bool:
    """Whether a file that begins with `head` is a Git LFS pointer."""
    return head.startswith(_LFS_POINTER)


def as_path(value: object, name: str) -> Path:
    """Return an argument that names a file or a folder as a path.

    Raises a UserError if it cannot be a path; the message has the argument's name.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text:
        raise UserError(f"{name} is {value!r:.60}; it must be a path")
    return Path(text)


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the identity of a file, which changes when the file is written or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def replacing(file: Path, sync: bool = False) -> Iterator[Path]:
    """Make an empty file beside `file` for the block to write, and give it that name when the block ends.

    After an exception the old file is as it was and the new one is gone; an OSError names `file`. No link is followed:
    where `file` is a link, the link itself is replaced, and the new file has a name that nothing had before, with the
    same ending. A kill may leave the new file, under a hidden name. With `sync` the file survives even a power cut,
    which takes some milliseconds.
    """
    beside = file.with_name(f".{os.urandom(4).hex()}-{file.name[-_N_KEPT:]}")
    with _errors_of(file, beside):
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
    try:
        with _errors_of(file, beside):
            yield beside
        if sync:
            _sync(beside)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(file.parent)


@contextmanager
def folder_beside(file: Path) -> Iterator[Path]:
    """Make a hidden folder beside `file` for the block; a kill may leave it. An OSError names `file`."""
    folder = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
    with _errors_of(file, folder):
        folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _errors_of(file: Path, beside: Path) -> Iterator[None]:
    """Have an OSError about what is hidden beside a file name the file, which the user knows."""
    try:
        yield
    except OSError as error:
        if error.filename in (beside, str(beside)):
            error.filename = str(file)
        raise


def write_file(file: Path, content: bytes | str, sync: bool = False) -> None:
    """Write a file, whole or not at all, see replacing(); a text in UTF-8."""
    with replacing(file, sync) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(file: Path) -> str:
    """Return the digest of a file's content, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def refuse_existing(file: Path, another: str) -> None:
    """Raise a UserError if there is something of that name already; `another` says what to give instead."""
    if file.exists() or file.is_symlink():
        raise UserError(f"{file} exists already; give another {another}, or delete it first")


def write_all(file: int, data: bytes | memoryview, offset: int | None = None) -> None:
    """Write all of `data` at `offset`, or where the file stands; a full disk is an OSError, never a short file."""
    view = memoryview(data).cast("B")
    while view:
        n = os.write(file, view) if offset is None else os.pwrite(file, view, offset)
        view = view[n:]
        offset = None if offset is None else offset + n


def own_folder(folder: Path) -> Path:
    """Make a folder within another, if it is not there yet, and return it.

    Raises a UserError if it is a link: what is written into it could land anywhere.
    """
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, and nothing is written through a link; delete it and run this again")
    folder.mkdir(exist_ok=True)
    return folder


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut, on file systems that can."""
    try:
        _sync(directory)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def locked(file: Path, doing: str, remedy: str, notify: Callable[[str], None], wait: bool = False) -> Iterator[bool]:
    """Hold a lock during the block, which is told whether another holder was waited for.

    The lock is the operating system's (flock), so it goes when its holder dies, however it dies. On a file system
    without flock the lock is that another file exists, called as `file` with "ed" behind it. After a holder that was
    killed, the next process on the same machine deletes that file; on another machine it counts as held until somebody
    deletes it. Raises a UserError if another process holds the lock, or `file` is a link.

    Parameters
    ----------
    file
        The file to lock: made, and deleted at the end.
    doing
        In words that follow the name of a process, what the holder of this lock does: "is writing x.h5".
    remedy
        In words, how the user can go on if another process holds the lock.
    wait
        Wait for another holder to finish instead of giving up.
    """
    from filelock import SoftFileLock

    lock, path = _first_try(file, notify)
    waited = not lock.is_locked
    if waited and not wait:
        raise UserError(f"{_holder(path)} {doing}; {remedy}")
    try:
        if waited:
            notify(f"{_holder(path)} {doing}; waiting for it")
            lock.acquire()
        yield waited
    finally:
        # Deleted while it is held: a process that waits for this very file then sees that it has gone and tries again.
        if lock.is_locked and not isinstance(lock, SoftFileLock):
            with suppress(OSError):
                path.unlink()
        lock.release()


def _first_try(path: Path, notify: Callable[[str], None]) -> tuple["BaseFileLock", Path]:
    """Return the lock, held if it was free, and the file it is on."""
    from filelock import FileLock, SoftFileLock, Timeout

    lock = FileLock(path, on_acquired=_sign)
    try:
        with suppress(Timeout):
            lock.acquire(timeout=0)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{path} is a link, and a lock is never one; delete it and run this again") from None
        if error.errno not in _NO_FLOCK:
            raise
    else:
        return lock, path
    # The attempt made the file; that the lock by existence has another name keeps the two apart.
    with suppress(OSError):
        path.unlink()
    path = path.with_name(path.name + "ed")
    notify(f"{path.parent} is on a file system without locks; while {path.name} is there, no other run starts")
    soft = SoftFileLock(path)
    with suppress(Timeout):
        soft.acquire(timeout=0)
    return soft, path


def _sign(file: int) -> None:
    # Only for the message to others: a disk too full for it must not be in the way of the run that makes room.
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n{socket.gethostname()}\n".encode(), 0)


def _holder(path: Path) -> str:
    """Name the process that holds a lock, from the two lines that it wrote into the file."""
    try:
        process, host, *_ = read_lines(path)
        return f"process {int(process)}" + (f" on {host}" if host != socket.gethostname() else "")
    except (UserError, ValueError):
        return "another process"
