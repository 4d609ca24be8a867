"""find(): the findings of a run in recordings, from a table of its predictions, the most doubtful first."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from cache.shared.cli import notice
from cache.shared.errors import UserError
from cache.shared.files import read_text, replacing, write_file
from cache.shared.text import as_utf8, human_percent, printable
from train.predict.deliver import Output, UnusableFiles, deliver
from train.predict.predict import label_of, predict
from train.predict.recordings import STDIN, Kind, Recording, Source, Window, find_sources
from train.predict.rows import as_csv, clock, csv_header, path, read_rows
from train.predict.windows import Detection, Detections, gap, settings_of, windows_of
from train.review.desk import Item
from train.review.rulings import key_of
from train.runs.directory import Run


@dataclass(frozen=True, kw_only=True)
class Finding(Item):
    """A detection in a recording, as `predict` writes it into labels; its probabilities are means over its windows.

    Its path is that of the recording from the folder of all, and its times are seconds in the recording.
    """

    file: Path
    duration: float
    start: float
    end: float
    threshold: float

    @property
    def span(self) -> tuple[float, float]:
        """Its start and its end."""
        return self.start, self.end


class Recordings(NamedTuple):
    """Recordings, the folder that holds all of them, and their paths from there as tables have them, by path()."""

    folder: Path
    sources: list[Source]
    names: dict[str, str]


def find_recordings(given: Sequence[str]) -> Recordings:
    """Return the recordings that some files and folders stand for.

    Raises a UserError if one is not there, or is standard input.
    """
    for one in given:
        if one == STDIN:
            raise UserError("standard input cannot be heard again; name a file")
        if not Path(one).exists():
            raise UserError(f"{one} is not there; give recordings, or folders of them")
    # Not resolve(), which would leave the folder through links.
    tops = [os.path.abspath(one if Path(one).is_dir() else Path(one).parent) for one in given]  # noqa: PTH100
    folder, sources = Path(os.path.commonpath(tops)), find_sources(given)
    relative = {path(one): os.path.relpath(one.path, folder).replace(os.sep, "/") for one in sources}
    return Recordings(folder, sources, {of: printable(as_utf8(name)) for of, name in relative.items()})


def note_replaced(run: Run, sources: Sequence[Source], table: Path, stamps: Path, is_own: bool) -> None:
    """Find recordings that are other files than those in a table of predictions, by their sizes and times in `stamps`.

    Their rows are taken out of a table that is the review's own, for them to be classified again. A table of somebody
    else stays as it is. A notice names each recording. Raises a UserError if the table is something else.
    """
    now: dict[str, list[int]] = {}
    for one in sources:
        with suppress(OSError):  # why it cannot be read is said when it is classified
            status = one.path.stat()
            now[path(one)] = [status.st_size, status.st_mtime_ns]
    known: dict[str, list[int]] = {}
    with suppress(UserError, ValueError, TypeError, RecursionError):  # not there yet, or damaged
        known = dict(json.loads(read_text(stamps)))
    replaced = set[str]()
    if table.exists():
        written = table.stat().st_mtime_ns
        doubted = {
            name for name, stamp in now.items() if (known[name] != stamp if name in known else stamp[1] > written)
        }
        replaced = {name for one in read_rows(run, table) if (name := str(one.path)) in doubted} if doubted else set()
    if is_own and replaced:
        with replacing(table) as beside, beside.open("wb") as out:
            # Without labels, which follow from the thresholds of each review.
            out.write(csv_header(run))
            out.writelines(as_csv(run, one) for one in read_rows(run, table) if str(one.path) not in replaced)
    for name in sorted(replaced):
        then = "it is classified again" if is_own else f"take its rows out of {table} to have it classified again"
        notice(f"warning: {name} has changed since it was classified; {then}, and decisions about it stay")
    # Faults in a table that somebody else made are named at every start.
    write_file(stamps, json.dumps({**known, **now, **{name: [] for name in replaced if not is_own}}))


def find(run: Run, recordings: Recordings, thresholds: Mapping[str, float], table: Path) -> list[Finding]:
    """Classify the recordings that are not in a table of predictions yet, and return the findings in all of them.

    The table is what `predict --format csv` wrote with the run, or a file to make; it goes on where it was interrupted.
    Raises a UserError if it is of another run or is something else, or the run cannot be used.
    """

    def classify(sources: Sequence[Source]) -> Iterable[Window | Recording]:
        windows = windows_of(run)
        if missed := gap(windows, settings_of(run)):
            notice(f"warning: {missed}")
        return predict(run, sources, windows)

    try:
        deliver(run, recordings.sources, classify, Output(format="csv", out=table, resume=True))
    except UnusableFiles as error:
        notice(f"{error}; the reasons are in {table}")
    found, detections = [], Detections()
    file_of = {path(one): one.path for one in recordings.sources}
    complete: list[Detection] = []
    for one in read_rows(run, table):
        complete += detections.complete(replace(one, label=label_of(one.probabilities, thresholds)))
        if isinstance(one, Recording):
            text = str(one.path)
            # A damaged recording has no findings, as `predict` writes no labels for it.
            if text in file_of and one.kind is not Kind.REJECTED:
                found += [_finding(recordings.names[text], file_of[text], one.end, its, thresholds) for its in complete]
            complete = []
    # The least sure first.
    return sorted(found, key=lambda one: one.probabilities[one.label] - one.threshold)


def _finding(name: str, file: Path, duration: float, its: Detection, thresholds: Mapping[str, float]) -> Finding:
    start, end, label, probabilities = round(its.start, 6), round(its.end, 6), its.label, its.probabilities
    threshold = thresholds[label]
    above = f", and its threshold is {human_percent(threshold)}" if threshold else ""
    return Finding(
        key=key_of(name, start, end, label),
        path=name,
        label=label,
        probabilities=dict(sorted(probabilities.items(), key=lambda share: -share[1])),
        why=f"The network says {printable(label)} with {human_percent(probabilities[label])}{above}; "
        f"{clock(start)} to {clock(end)}.",
        file=file,
        duration=duration,
        start=start,
        end=end,
        threshold=threshold,
    )
