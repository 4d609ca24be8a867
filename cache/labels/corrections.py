"""Corrections: decisions of reviewers about the labels of clips, a line each, in corrections.csv beside a cache.

A clip is recognised by its content, so a correction holds under any name and in any folder. A later line about the same
content replaces an earlier one, whatever file it came from: two reviewers' files are merged by putting one behind the
other. Lines are only appended, each in one write, so a kill loses nothing.
"""

import csv
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from cache.shared.errors import UserError
from cache.shared.files import read_text
from cache.shared.text import csv_line, plain_cell, printable

FILE = "corrections.csv"
# The table of the clips that were moved for corrections; see train.review.move.
MOVES = "moved.csv"
# The table of decisions about what was found in recordings, see train.review.rulings.
FINDINGS = "findings.csv"

# How the reason of a clip begins that is rejected because of a correction.
_REVIEWED = "reviewed: "

T = TypeVar("T")


class Decision(StrEnum):
    """The decision of a reviewer about the label of a clip, or about a finding in a recording."""

    RIGHT = "right"
    CHANGE = "change"
    BOTH = "both"
    UNSURE = "unsure"
    UNUSABLE = "unusable"  # a clip
    REJECTED = "rejected"  # a finding, which becomes background
    UNDO = "undo"

    @property
    def names_class(self) -> bool:
        """Whether a line with this decision names a class beside the old one."""
        return self in (Decision.CHANGE, Decision.BOTH, Decision.REJECTED)


class Correction(NamedTuple):
    """A line of the table."""

    sha256: str  # the digest of the clip's content; for a segment see cache.shared.segment
    path: str  # the clip's path in the cache then, for people
    old: str  # the class in the cache then
    decision: Decision
    new: str  # the right class for `change`, the second class for `both`, else ""
    # The reviewer, and the time in ISO 8601.
    who: str
    when: str
    run: str  # the run whose mistakes were reviewed

    def why_rejected(self, class_names: Collection[str]) -> str:
        """Say why a clip cannot be used after this decision in a cache with these classes; "" if it can."""
        if self.decision is Decision.UNUSABLE:
            return f"{_REVIEWED}{self.who} found it unusable"
        if self.decision is Decision.BOTH:
            return f"{_REVIEWED}{self.who} heard {self.old} and {self.new}, and a clip has one class"
        if self.decision is Decision.CHANGE and self.new not in class_names:
            return f"{_REVIEWED}{self.who} heard {self.new}, which is not one of the classes"
        return ""


def append_correction(file: Path, correction: Correction) -> None:
    """Append a line, which is on the disk when this returns.

    Raises a UserError if the file is a link or not a regular file, or the new class cannot be the name of a folder on
    one line.
    """
    if any(not name.isprintable() for name in (correction.old, correction.new)):
        raise UserError(f"{printable(correction.new or correction.old)!r} cannot be a class in a table of corrections")
    texts = correction._replace(path=printable(correction.path), run=printable(correction.run))
    append_line(file, Correction._fields, texts)


def append_line(file: Path, header: Sequence[str], cells: Iterable[object]) -> None:
    """Append a line of a table of decisions in one write; a file that is new or empty gets its header first.

    Raises a UserError if the file is a link or not a regular file, or the disk is full.
    """
    try:
        out = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        what = "is a link, and nothing is written through a link" if error.errno == errno.ELOOP else error.strerror
        raise UserError(f"{file} {what}; move it away and decide again") from None
    try:
        status = os.fstat(out)
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{file} is not a file; move it away and decide again")
        lines = "" if status.st_size else csv_line(header)
        # The last line may be half a line, of a full disk or a person's editor.
        if status.st_size and os.pread(out, 1, status.st_size - 1) != b"\n":
            lines = "\n"
        content = (lines + csv_line(cells)).encode("utf-8", "backslashreplace")
        if os.write(out, content) < len(content):
            raise UserError(f"{file} cannot be written ({os.strerror(errno.ENOSPC)}); make room and decide again")
        os.fsync(out)
    finally:
        os.close(out)


def read_corrections(file: Path, notify: Callable[[str], None]) -> dict[str, Correction]:
    """Return the last decision about each content, by its sha256; for the rest see `every_correction`."""
    return last_decisions(every_correction(file, notify))


def last_decisions(corrections: Iterable[Correction]) -> dict[str, Correction]:
    """Return the last decision about each content, by its sha256, without those that were undone."""
    last = {one.sha256: one for one in sorted(corrections, key=lambda one: one.when)}
    return {sha256: one for sha256, one in last.items() if one.decision is not Decision.UNDO}


def still_holds(corrections: Mapping[str, Correction], class_names: Collection[str]) -> Callable[[str, str], bool]:
    """Return a function that tells whether a path is still rejected for a reason, which may be that of a correction."""
    reasons = {one.path: one.why_rejected(class_names) for one in corrections.values()}
    return lambda path, reason: not reason.startswith(_REVIEWED) or reasons.get(printable(path)) == reason


def every_correction(file: Path, notify: Callable[[str], None]) -> list[Correction]:
    """Return all lines of a table of corrections, in their order; none if there is no file.

    Lines that are not corrections are skipped, with a notice. Raises a UserError if the file cannot be read, or its
    first line is not that of a table of corrections.
    """
    return read_decisions(file, Correction._fields, _correction, "correction", notify)


def read_decisions(
    file: Path, header: Sequence[str], parse: Callable[[Sequence[str]], T], what: str, notify: Callable[[str], None]
) -> list[T]:
    """Return the lines of a table of decisions that can be parsed, the others named; none if there is no file.

    Raises a UserError if the file cannot be read, or its first line is not the header.

    Parameters
    ----------
    parse
        Takes the cells of a line; a TypeError or a ValueError says that they are not a decision.
    what
        A word for a line.
    """
    if not file.exists():
        return []
    first, *lines = read_text(file).splitlines() or [""]
    if tuple(first.replace('"', "").split(",")) != tuple(header):  # a spreadsheet may quote the names
        raise UserError(f"{file} is not a table of {what}s: its first line is not {','.join(header)}")
    found, bad = [], []
    for number, line in enumerate(lines, start=2):
        if line in ("", first):
            continue
        try:
            found.append(parse([plain_cell(cell) for cell in next(csv.reader([line], strict=True), [])]))
        except (csv.Error, TypeError, ValueError):
            bad.append(number)
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        notify(f"{file}: line {bad[0]}{more} skipped, because it is not a {what}")
    return found


def _correction(cells: Sequence[str]) -> Correction:
    sha256, path, old, decision, *others = cells
    correction = Correction(sha256, path, old, Decision(decision), *others)
    is_whole = correction.sha256 and correction.when and bool(correction.new) == correction.decision.names_class
    if correction.decision is Decision.REJECTED or not is_whole:
        raise ValueError
    return correction
