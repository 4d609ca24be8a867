"""Predictions as rows: lines of text, CSV or JSON, and what is finished in a file of CSV or JSON rows."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import IO

from cache.labels.annotation import Region
from cache.shared.errors import UserError
from cache.shared.text import csv_line, human_percent, human_seconds, plain_cell, printable
from train.predict.recordings import Kind, Recording, Source, Window
from train.runs.directory import Run

# In words, a window or a clip whose probabilities do not reach a threshold.
NO_CLASS = "no class"

# How a sink begins to say why it cannot write a recording, which has rows all the same.
CLASSIFIED_BUT = "it is classified, but"

# The row that a recording ends with.
_LAST = {Kind.CLIP.value, Kind.RECORDING.value, Kind.REJECTED.value}


def as_text(run: Run, one: Window | Recording) -> bytes:
    """Return the line of a window or a recording: name, class, all probabilities; nothing for a file that is bad."""
    if one.kind is Kind.REJECTED:
        return b""
    name = printable(str(one.path))
    note = f", {one.note}" if one.note else ""
    if isinstance(one, Recording) and one.kind is Kind.RECORDING:
        n_all = sum(one.n_windows.values())
        shares = sorted(one.n_windows.items(), key=lambda share: -share[1])
        parts = (f"{printable(label) or NO_CLASS} {human_percent(n / n_all)}" for label, n in shares)
        found = one.reason or (_answer(one) if run.is_cropped else ", ".join(parts))
        return f"{name}: {human_seconds(one.end)} in {n_all} windows: {found}{note}\n".encode()
    if one.kind is Kind.WINDOW:
        name += f"  {clock(one.start)} - {clock(one.end)}"
    return f"{name}: {_answer(one)}{note}\n".encode()


def _answer(one: Window | Recording) -> str:
    label = printable(one.label) or one.reason or NO_CLASS
    probabilities = "  ".join(f"{printable(name)} {p:.3f}" for name, p in one.probabilities.items())
    return f"{label}  ({probabilities})" if probabilities else label


def region_as_text(path: Path, region: Region) -> bytes:
    """Return the line of a detection: name, from when to when, class, mean probability."""
    times = f"{clock(region.start)} - {clock(region.end)}"
    return f"{printable(str(path))}  {times}: {printable(region.label)}  ({region.probability:.3f})\n".encode()


def clock(seconds: float) -> str:
    """Return a position in a recording: 0:00.50, 59:59.99, 1:00:00.00."""
    hundredths = round(100 * seconds)
    minutes, rest = divmod(hundredths, 6000)
    position = f"{minutes % 60:02d}:{rest / 100:05.2f}"
    return f"{minutes // 60}:{position}" if minutes >= 60 else position.removeprefix("0")


def as_json(run: Run, one: Window | Recording) -> bytes:
    """Return the line of a prediction, one JSON object."""
    row: dict[str, object] = {"run": str(run.folder), "kind": one.kind.value, "path": str(one.path)}
    if one.kind is not Kind.REJECTED:
        row |= {"start": round(one.start, 4), "end": round(one.end, 4), "class": one.label or None}
        row["probabilities"] = {name: round(p, 6) for name, p in one.probabilities.items()} or None
    if isinstance(one, Recording) and one.kind is Kind.RECORDING:
        row["windows"] = {name: n for name, n in one.n_windows.items() if name}
        row["unlabelled_windows"] = one.n_windows.get("", 0)
    row |= {name: text for name, text in (("reason", one.reason), ("remark", one.note)) if text}
    return json.dumps(row).encode() + b"\n"


def as_csv(run: Run, one: Window | Recording) -> bytes:
    """Return the row of a prediction."""
    times = ("", "") if one.kind is Kind.REJECTED else (f"{one.start:.4f}", f"{one.end:.4f}")
    values = (f"{one.probabilities[name]:.6f}" if one.probabilities else "" for name in run.class_names)
    n_windows = one.n_windows if isinstance(one, Recording) else {}
    counts = ", ".join(f"{n} {name or NO_CLASS}" for name, n in n_windows.items())
    note = "; ".join(text for text in (one.reason or counts, one.note) if text)
    return _csv([run.folder, one.kind.value, one.path, *times, one.label, *values, note])


def csv_header(run: Run) -> bytes:
    """Return the first row."""
    return _csv(["run", "kind", "path", "start", "end", "class", *(f"p_{name}" for name in run.class_names), "note"])


def _csv(cells: Iterable[object]) -> bytes:
    return _encoded(csv_line(cells))


def _encoded(text: str) -> bytes:
    # Bytes of a name that are no UTF-8 are surrogates, and come out as \udcXX.
    return text.encode("utf-8", "backslashreplace")


@contextmanager
def rows_file(run: Run, file: Path, format: str, resume: bool) -> Iterator[tuple[IO[bytes], dict[str, str]]]:
    """Open a file of rows to go on behind the last recording that is finished.

    With it comes, for every finished recording by path(), the kind of its last row, or CLASSIFIED_BUT if that notes so.
    Raises a UserError if the file exists and `resume` is False, or it holds something else.
    """
    if file.exists() and not resume:
        raise UserError(f"{file} exists already; go on with --resume, give another --out, or delete it first")
    with file.open("r+b" if file.exists() else "x+b") as out:
        end, finished = (0, {}) if format == "text" else _finished(run, out, file, format)
        out.truncate(end)
        out.seek(end)
        if format == "csv" and end == 0:
            out.write(csv_header(run))
        yield out, finished


def path(source: Source) -> str:
    """Return the path of a recording as rows have it."""
    return _encoded(str(source.path)).decode()


def _finished(run: Run, out: IO[bytes], file: Path, format: str) -> tuple[int, dict[str, str]]:
    """Return where the rows of the last finished recording end, and what each one's last row says of it."""
    finished: dict[str, str] = {}
    end = 0
    try:
        for row, position in (_csv_rows if format == "csv" else _json_rows)(run, out):
            if row is None:
                end = position
                continue
            if _encoded(row["run"]) != _encoded(str(run.folder)):
                raise UserError(f"{file} holds results of {row['run']}; give another --out")
            if row["kind"] in _LAST:
                end = position
                note = row.get("note", row.get("remark", ""))
                finished[_encoded(row["path"]).decode()] = CLASSIFIED_BUT if CLASSIFIED_BUT in note else row["kind"]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error):
        raise UserError(
            f"{file} is not what `predict --format {format}` writes with {run.folder}; give another --out"
        ) from None
    return end, finished


def read_rows(run: Run, file: Path) -> Iterator[Window | Recording]:
    """Yield what predict() found, without labels, by the rows that `predict --format csv` wrote with a run.

    Raises a UserError if the file is something else.
    """
    try:
        with file.open("rb") as rows:
            for row, _ in _csv_rows(run, rows):
                if row is not None:
                    yield _found(run, row)
    except (ValueError, KeyError, csv.Error):
        raise UserError(f"{file} is not what `predict --format csv` writes with {run.folder}") from None


def _found(run: Run, row: dict[str, str]) -> Window | Recording:
    kind, recording = Kind(row["kind"]), Path(row["path"])
    if kind is Kind.REJECTED:
        return Recording(recording, kind, reason=row["note"])
    start, end = float(row["start"]), float(row["end"])
    cells = {name: row[f"p_{name}"] for name in run.class_names}
    probabilities = {name: float(cell) for name, cell in cells.items()} if all(cells.values()) else {}
    if not (0 <= start <= end < inf and all(0 <= p <= 1 for p in probabilities.values())):
        raise ValueError("a time or a probability that cannot be")
    if kind is Kind.WINDOW:
        return Window(recording, start, end, "", probabilities)
    return Recording(recording, kind, end, "", probabilities)


def _json_rows(run: Run, out: IO[bytes]) -> Iterator[tuple[dict[str, str] | None, int]]:
    position = 0
    for line in out:
        # The last one may be torn, and its recording is not finished then.
        if not line.endswith(b"\n"):
            return
        position += len(line)
        yield json.loads(line), position


def _csv_rows(run: Run, out: IO[bytes]) -> Iterator[tuple[dict[str, str] | None, int]]:
    """Yield None for the header, and then every whole row, each with the position behind it."""
    header = csv_header(run)
    found = out.read(len(header))
    if found != header:
        if header.startswith(found):
            return
        raise ValueError("another header")
    yield None, len(header)
    names = [plain_cell(name) for name in next(csv.reader([header.decode()]))]
    position, whole = len(header), True

    def lines() -> Iterator[str]:
        nonlocal position, whole
        for line in out:
            position, whole = position + len(line), line.endswith(b"\n")
            yield line.decode("utf-8", "replace")

    try:
        for cells in csv.reader(lines(), strict=True):
            if not whole:
                return
            yield dict(zip(names, map(plain_cell, cells), strict=True)), position
    except csv.Error:
        # In the middle of a quoted name that has a line break.
        if out.read(1):
            raise
