"""move_clips(): corrected clips moved into the folders of their classes. undo_moves(): back to where they were.

A line of moved.csv, beside the cache, stands on the disk before its clip is moved. A clip gets its new name before it
loses the old one, and a name that is taken is never given again: a kill at any moment loses nothing, and the same
command goes on.
"""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cache import Cache
from cache.labels.corrections import (
    FILE,
    MOVES,
    Correction,
    Decision,
    append_line,
    read_corrections,
    read_decisions,
)
from cache.shared.errors import UserError
from cache.shared.files import sha256_of, write_file
from cache.shared.segment import segment_of
from cache.shared.text import csv_line, printable
from cache.shared.tree import Places, class_places

# The errors of file systems without hard links, such as that of a stick or a share, and of a file of somebody else.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Move(NamedTuple):
    """A line of moved.csv: a clip, its path before and after, relative to DATA, and when."""

    sha256: str
    before: str
    after: str
    when: str


class _Unmovable(Exception):
    """A clip cannot be moved; the message says why, in words that follow its path."""


def move_clips(cache: Cache, data: Path, notify: Callable[[str], None]) -> tuple[int, Path]:
    """Move the clips whose class reviewers changed, and return how many, and the file that undo_moves() takes.

    Clips that cannot be moved stay where they are, and a notice names each. Raises a UserError if a table cannot be
    read or written.
    """
    decided = read_corrections(cache.file.resolve().with_name(FILE), notify)
    file, places, n_moved = cache.file.resolve().with_name(MOVES), class_places(data), 0
    begun = {(move.before, move.after) for move in _read(file, notify)}
    for path, digest in zip(cache.clip_paths, cache.clip_sha256, strict=True):
        one = decided.get(digest)
        if one is None or one.decision not in (Decision.CHANGE, Decision.BOTH, Decision.UNUSABLE):
            continue
        try:
            after = _target(path, one, cache, places)
            if after is not None and not ((path, after) in begun and _is_moved(data / path, data / after)):
                _refuse(data, path, after, digest)
                append_line(file, Move._fields, Move(digest, path, after, datetime.now(UTC).isoformat()))
                _rename(data / path, data / after)
                n_moved += 1
        except _Unmovable as reason:
            notify(f"{printable(path)} stays where it is: {reason}")
    return n_moved, file


def undo_moves(cache: Cache, data: Path, notify: Callable[[str], None]) -> int:
    """Move clips back to where they were before move_clips(), the last first, and return how many.

    The lines of those that cannot be moved back stay in moved.csv, and a notice names each; without others the file is
    deleted. With lines that cannot be read it stays whole. Raises a UserError if there is no such file or it cannot be
    read.
    """
    file = cache.file.resolve().with_name(MOVES)
    if not file.exists():
        raise UserError(f"there is no {file}, so there is nothing to move back")
    kept: list[Move] = []
    skipped: list[str] = []
    n_moved = 0
    moves = _read(file, skipped.append)
    for line in skipped:
        notify(line)
    for move in reversed(moves):
        try:
            if not _is_moved(data / move.after, data / move.before):
                _refuse(data, move.after, move.before, move.sha256)
                _rename(data / move.after, data / move.before)
                n_moved += 1
            with suppress(OSError):  # it holds other clips
                (data / move.after).parent.rmdir()
        except _Unmovable as reason:
            kept.insert(0, move)
            notify(f"{printable(move.after)} stays where it is: {reason}")
    if skipped:
        return n_moved  # the file stays: nothing else knows where these clips were
    if kept:
        write_file(file, "".join(map(csv_line, (Move._fields, *kept))), sync=True)
    else:
        file.unlink()
    return n_moved


def _target(path: str, one: Correction, cache: Cache, places: Places) -> str | None:
    """Return where a clip belongs after a decision; None if it is there."""
    if one.decision is not Decision.CHANGE:
        what = "is unusable" if one.decision is Decision.UNUSABLE else f"is of {one.old} and {one.new}"
        raise _Unmovable(f"it {what}, so featurize rejects it")
    if segment_of(path):
        raise _Unmovable("it is a segment of a recording, whose label stands in a table")
    homes = [(name, subset, home) for name, by in places.folders.items() for subset, home in by.items()]
    found = next((one for one in homes if path.startswith(f"{one[2]}/")), None)
    members = cache.header.members
    if found is None or found[0] not in cache.header.folders:
        raise _Unmovable("its label is not that of its folder")
    name, subset, home = found
    if name in members.get(one.new, (one.new,)):
        return None
    new = next((name for name in members.get(one.new, ()) if subset in places.folders.get(name, {})), one.new)
    return f"{places.folders.get(new, {}).get(subset) or '/'.join(filter(None, (subset, new)))}{path[len(home) :]}"


def _is_moved(old: Path, new: Path) -> bool:
    """Whether a move that was begun is done; one between its two steps is finished."""
    if not new.exists() or not old.exists():
        return new.exists()
    # Two names of one file; a link that somebody left in the other place is not one, and the file would be lost.
    if os.path.samestat(new.lstat(), old.lstat()) and old.lstat().st_nlink > 1:
        old.unlink()
        return True
    if new.is_file() and not new.stat().st_size:  # see _rename()
        new.unlink()
    return False


def _refuse(data: Path, before: str, after: str, sha256: str) -> None:
    old, new, top = data / before, data / after, data.resolve()
    if not (before + after).isprintable():
        raise _Unmovable("its name does not fit on a line")
    if _leads_out(after):
        raise _Unmovable(f"{printable(after)} would lie elsewhere")
    if old.is_symlink() or not old.is_file():
        raise _Unmovable("it is a link" if old.is_symlink() else "it is gone")
    if new.exists() or new.is_symlink():
        raise _Unmovable(f"{after} exists already")
    if any(not folder.resolve().is_relative_to(top) for folder in (old.parent, new.parent)):
        raise _Unmovable("a link leads out of the folder of clips")
    if sha256_of(old) != sha256:
        raise _Unmovable("its content has changed since")


def _rename(old: Path, new: Path) -> None:
    """Give a file another name, unless that is taken."""
    try:
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old, new)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC))
            old.replace(new)
        else:
            old.unlink()
    except OSError as error:
        raise _Unmovable(f"it cannot be moved to {printable(str(new))} ({error.strerror})") from None


def _leads_out(path: str) -> bool:
    return Path(path).is_absolute() or ".." in Path(path).parts


def _read(file: Path, notify: Callable[[str], None]) -> list[Move]:
    return read_decisions(file, Move._fields, _move, "moved clip", notify)


def _move(cells: Sequence[str]) -> Move:
    one = Move(*cells)
    if _leads_out(one.before) or _leads_out(one.after):
        raise ValueError
    return one
