"""read_labels(): what tables of labels say of which segments of recordings, whatever program wrote them."""

import math
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from cache.labels import audacity, raven, table
from cache.labels.annotation import Annotation
from cache.shared.errors import UserError
from cache.shared.text import human_count, printable
from cache.shared.tree import AUDIO_EXTENSIONS, walk

# A module each, that recognises its files and reads their marks.
FORMATS = (raven, table, audacity)

# What is looked at in a folder.
ENDINGS = (".txt", ".csv", ".tsv")

# Of a table, lines that are named one by one.
_N_NAMED = 20

Index = dict[str, list[Path]]


def read_labels(
    paths: Sequence[Path], recordings: Path | None, label_column: str | None, notify: Callable[[str], None]
) -> list[Annotation]:
    """Read tables of labels: Audacity's label tracks, Raven's selection tables, and CSV with file, start, end, label.

    Parameters
    ----------
    paths
        Tables, or folders in which they are searched for.
    recordings
        A folder in which, and below which, the recordings are looked for, as they are beside the tables.
    label_column
        The column that holds the label; None: `label` of a CSV, and Species, Annotation, Label or the last free column
        of a selection table.
    notify
        Takes what does not fit, a line each: it is left out.

    Returns
    -------
    list of Annotation
        In the order of the tables, and of their lines. A line that is there twice counts once.

    Raises
    ------
    UserError
        A path is not there, or nothing can be made of a table.
    """
    index = lru_cache(maxsize=None)(_index)
    labels: dict[tuple[str, float, float, str], Annotation] = {}
    others: list[Path] = []
    for file, is_named in _tables(paths):
        lines = _lines(file)
        kind = next((kind for kind in FORMATS if kind.recognises(lines)), None)
        if kind is None:
            if any(line.strip() for line in lines) and is_named:
                raise UserError(
                    f"{file} is no table of labels; give a label track of Audacity, a selection table of Raven, or a"
                    " CSV with the columns file,start,end,label"
                )
            others.append(file)
            continue
        try:
            annotations = list(kind.annotations(file, lines, label_column))
        except UserError as error:
            raise UserError(f"{file}: {error}") from None
        for label in _placed(file, _sound(file, annotations, notify), recordings, index, notify):
            labels.setdefault(label[:4], label)
    if others:
        more = f" and {human_count(len(others) - 1, 'other file')}" if len(others) > 1 else ""
        notify(f"{printable(str(others[0]))}{more}: no table of labels, or an empty one; left out")
    return list(labels.values())


def tables(paths: Sequence[Path]) -> list[Path]:
    """Return the files that may be tables of labels, as read_labels() looks at them."""
    return [file for file, _ in _tables(paths)]


def _tables(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield every file once, and whether it was named itself."""
    seen = set()
    for path in paths:
        if path.is_dir():
            visible = (Path(folder) / name for folder, names in _visible(path) for name in sorted(names))
            found = [(file, False) for file in visible if file.suffix.lower() in ENDINGS]
        elif path.is_file():
            found = [(path, True)]
        else:
            raise UserError(f"{path} is not there; give a table of labels, or a folder that holds such tables")
        for file, is_named in found:
            if (real := os.path.realpath(file)) not in seen:
                seen.add(real)
                yield file, is_named


def _visible(top: Path) -> Iterator[tuple[str, list[str]]]:
    for folder, below, names in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder, [name for name in names if not name.startswith(".")]


def _lines(file: Path) -> list[str]:
    try:
        content = file.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text in UTF-8; save it as such") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _sound(file: Path, annotations: Sequence[Annotation], notify: Callable[[str], None]) -> list[Annotation]:
    """Return the marks that can be segments, and say of the others what is wrong with them."""
    faults = [(mark, fault) for mark in annotations if (fault := _fault(mark))]
    for mark, fault in faults[:_N_NAMED]:
        notify(f"{printable(str(file))}:{mark.line}: {fault}; left out")
    if len(faults) > _N_NAMED:
        notify(f"{printable(str(file))}: and {human_count(len(faults) - _N_NAMED, 'more line')} like that; left out")
    bad = {mark.line for mark, _ in faults}
    return [mark for mark in annotations if mark.line not in bad]


def _fault(mark: Annotation) -> str:
    if not (math.isfinite(mark.start) and math.isfinite(mark.end)):
        return "its start or its end is no number of seconds"
    if not mark.label:
        return "it has no label"
    if mark.start < 0:
        return f"it starts {-mark.start:g} s before the recording"
    if mark.end < mark.start:
        return f"it ends at {mark.end:g} s, before its start at {mark.start:g} s"
    if mark.end == mark.start:
        return f"it has no length, it is a point at {mark.start:g} s"
    return ""


def _placed(
    file: Path,
    annotations: Sequence[Annotation],
    recordings: Path | None,
    index: Callable[[Path, bool], Index],
    notify: Callable[[str], None],
) -> Iterator[Annotation]:
    """Yield the labels whose recording is found, and say how many belong to none."""
    found: dict[str, Path | str] = {}
    lost: Counter[str] = Counter()
    for mark in annotations:
        if mark.file not in found:
            found[mark.file] = _recording(file, mark.file, recordings, index)
        recording = found[mark.file]
        if isinstance(recording, Path):
            yield mark._replace(file=str(recording), start=round(mark.start, 6), end=round(mark.end, 6))
        else:
            lost[mark.file] += 1
    for name, n in lost.items():
        first = next(mark.line for mark in annotations if mark.file == name)
        notify(f"{printable(str(file))}:{first}: {human_count(n, 'label')} left out: {found[name]}")


def _recording(file: Path, name: str, recordings: Path | None, index: Callable[[Path, bool], Index]) -> Path | str:
    """Return the recording that is meant by a name, or without one by the name of its table; or why there is none."""
    beside, below = index(file.parent, False), index(recordings, True) if recordings is not None else {}
    if name:
        words = _words(name)
        near = file.parent.joinpath(*words) if words else file.parent
        for path in (Path(name), near):
            if path.is_file() and path.suffix.lower() in AUDIO_EXTENSIONS and (path is near or path.is_absolute()):
                return path
        return _nearest([*beside.get(words[-1], ()), *below.get(words[-1], ())], words[:-1], name)
    words = _words(str(file.parent.absolute()))
    stem = _plain(file.name)
    while "." in stem:
        stem = stem.rpartition(".")[0]
        if stem and (there := beside.get(stem) or below.get(stem)):
            return _nearest(there, words, stem)
    return f"there is no recording of the same name beside it{_or_in(recordings)}, and it names none"


def _or_in(recordings: Path | None) -> str:
    return f" or in {recordings}" if recordings is not None else ""


def _nearest(candidates: Sequence[Path], folders: Sequence[str], name: str) -> Path | str:
    """Return the one whose folders end most like these."""
    real = {os.path.realpath(path): path for path in reversed(candidates)}
    if not real:
        return f"there is no recording {printable(name)}"
    shared = {path: _n_shared(_words(str(path.parent.absolute())), folders) for path in real.values()}
    best = [path for path, n in shared.items() if n == max(shared.values())]
    if len(best) > 1:
        return f"{printable(name)} may be {best[0]} or {best[1]}; write more of the path in a column for the file"
    return best[0]


def _n_shared(a: Sequence[str], b: Sequence[str]) -> int:
    n = 0
    while n < min(len(a), len(b)) and a[-1 - n] == b[-1 - n]:
        n += 1
    return n


def _index(folder: Path, deep: bool) -> Index:
    """Return the audio files of a folder by their names, with and without the ending."""
    found: Index = {}
    for path in walk(folder, deep=deep)[0].audio:
        name = _plain(path.rpartition("/")[2])
        for key in (name, name.rpartition(".")[0]):
            found.setdefault(key, []).append(folder / path)
    return found


def _words(path: str) -> list[str]:
    return [word for word in _plain(path).replace("\\", "/").split("/") if word not in ("", ".")]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name)
