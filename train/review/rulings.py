"""Rulings: decisions of reviewers about findings, a line each, in findings.csv; and the tables of labels they give.

Lines are only appended, each in one write, so a kill loses nothing. A later line about the same finding replaces an
earlier one, so two reviewers' tables are merged by putting one behind the other.

Labels are written again after each decision, into a folder that the review shares with people, who open and change such
tables. So a table of labels is replaced only if it is as the review left it, by its digest in a hidden file beside.
"""

import json
import math
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from cache.labels.annotation import Region
from cache.labels.corrections import Decision, append_line, read_decisions
from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.files import own_folder, read_text, write_file
from cache.shared.text import printable
from train.predict.recordings import LABELS
from train.predict.sinks import label_text

_WRITTEN = ".written.json"


class Ruling(NamedTuple):
    """A line of the table; times are seconds in the recording."""

    recording: str
    start: float
    end: float
    found: str  # the class
    decision: Decision
    new: str  # the right class for `change`, the second one for `both`, that of background for `rejected`, else ""
    new_start: float  # the right edges, which are the old ones if they were not moved
    new_end: float
    who: str
    when: str  # in ISO 8601
    run: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The key of its finding, see key_of()."""
        return key_of(self.recording, self.start, self.end, self.found)

    @property
    def regions(self) -> list[Region]:
        """The labels that it gives; a person is sure of them."""
        names = {
            Decision.RIGHT: [self.found],
            Decision.CHANGE: [self.new],
            Decision.BOTH: [self.found, self.new],
            Decision.REJECTED: [self.new],
        }.get(self.decision, [])
        return [Region(self.new_start, self.new_end, name, 1.0) for name in names]

    def covers(self, start: float, end: float) -> bool:
        """Whether its labels overlap another span by more than half of the shorter of the two."""
        shorter = min(self.new_end - self.new_start, end - start)
        return bool(self.regions) and min(self.new_end, end) - max(self.new_start, start) > shorter / 2


def key_of(recording: str, start: float, end: float, found: str) -> tuple[str, str, str, str]:
    """Return a key that tells a finding from all others."""
    return recording, f"{start:.6f}", f"{end:.6f}", found


def append_ruling(file: Path, ruling: Ruling) -> None:
    """Append a line, which is on the disk when this returns; a UserError says why it cannot be."""
    if any(not name.isprintable() for name in (ruling.found, ruling.new)):
        raise UserError(f"{printable(ruling.new or ruling.found)!r} cannot be a class in a table of findings")
    times = {name: f"{getattr(ruling, name):.6f}" for name in ("start", "end", "new_start", "new_end")}
    append_line(file, Ruling._fields, {**ruling._asdict(), **times, "run": printable(ruling.run)}.values())


def read_rulings(file: Path) -> list[Ruling]:
    """Return the last ruling about each finding, except those that were undone, by their times.

    Lines that are not rulings are skipped, with a notice. Raises a UserError if the file is something else.
    """
    found = read_decisions(file, Ruling._fields, _ruling, "finding", notice)
    last = {one.key: one for one in sorted(found, key=lambda one: one.when)}
    return [one for one in last.values() if one.decision is not Decision.UNDO]


def _ruling(cells: Sequence[str]) -> Ruling:
    one = Ruling(*(kind(cell) for kind, cell in zip(Ruling.__annotations__.values(), cells, strict=True)))
    times = (one.start, one.end, one.new_start, one.new_end)
    is_span = all(map(math.isfinite, times)) and 0 <= one.new_start < one.new_end
    is_whole = one.recording and one.found and one.when and bool(one.new) == one.decision.names_class
    if one.decision is Decision.UNUSABLE or not (is_span and is_whole):
        raise ValueError
    return one


def regions_of(rulings: Iterable[Ruling]) -> list[Region]:
    """Return the labels that rulings about a recording give, by rising start; a second class comes second."""
    return sorted((region for one in rulings for region in one.regions), key=lambda region: region[:2])


class Tables:
    """The tables of labels in a folder: `raven/<recording>.selections.txt` and `audacity/<recording>.labels.txt`.

    A selection has the frequencies of a band in Hz.
    """

    def __init__(self, folder: Path, band: tuple[float, float]) -> None:
        self.folder, self.band = folder, band
        # While a table is replaced, it has both the old digest and the new one: a kill may come before or after.
        self.written: dict[str, list[str]] = {}
        self.left: set[str] = set()
        if (file := folder / _WRITTEN).exists():
            try:
                self.written = {str(name): [*map(str, its)] for name, its in json.loads(read_text(file)).items()}
            except (ValueError, AttributeError, TypeError, RecursionError):
                raise UserError(f"{file} is damaged; delete it, and the tables beside it that are not yours") from None

    def write(self, recording: str, regions: Sequence[Region]) -> None:
        """Write the tables of a recording, by its path from the folder of all; a table of somebody else stays.

        Raises a UserError if a folder is a link, and an OSError if a table cannot be written.
        """
        for format, kind in LABELS.items():
            content = label_text(format, recording, regions, self.band).encode() if regions else b""
            self._replace(f"{format}/{recording}{kind.ENDING}", content)

    def _replace(self, name: str, content: bytes) -> None:
        file = self.folder / name
        there, wanted = (sha256(file.read_bytes()).hexdigest() if file.exists() else ""), sha256(content).hexdigest()
        if there in ("", wanted):
            self.written[name] = [wanted]
        elif there not in self.written.get(name, ()):
            if name not in self.left:
                notice(f"{file} is left as it is, because somebody changed it; move it away to have it written")
            self.left.add(name)
            return
        self.left.discard(name)
        if there == wanted or not (there or content):
            return
        self.written[name] = [one for one in (there, wanted) if one]
        write_file(self.folder / _WRITTEN, json.dumps(self.written))
        if not content:
            file.unlink()  # an empty table would say that nothing calls in the recording
            return
        folder = self.folder
        for part in Path(name).parent.parts:
            folder = own_folder(folder / part)
        write_file(file, content)

    @property
    def note(self) -> str:
        """Which tables are left as they are, in words; "" if none is."""
        if not self.left:
            return ""
        return f"Left as it is, because somebody changed it: {', '.join(map(printable, sorted(self.left)))}."
