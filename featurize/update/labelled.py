"""labels_in(): the labels of the recordings in DATA, out of the tables that are asked for."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from cache.file.header import is_folder_name
from cache.labels.annotation import Annotation, Problem
from cache.labels.read import Labels, read_labels
from cache.labels.table import USUAL, ColumnNames
from cache.shared.text import is_utf8, plain, printable
from featurize.audio.find import Walked

# The seconds and the channels of a recording, by its path relative to DATA; zeros if they are not known.
Shapes = Callable[[str], tuple[float, int]]


class Labelling(NamedTuple):
    """Which labels are asked for."""

    tables: tuple[Path, ...] = ()  # tables of labels, and folders of them
    columns: ColumnNames = USUAL  # the columns that the user named
    point: float = 0.0  # the length in seconds to give to labels of a point in time; 0: skip them
    widen: bool = False  # whether labels shorter than the median are widened to it around their middle
    background: int = 0  # how many segments without a label to take of each labelled recording
    length: float = 0.0  # the median in seconds, as it was when segments were first made of it; 0 if it is not known

    @property
    def has_length(self) -> bool:
        """Whether the median length of the labels matters."""
        return bool(self.tables) and (self.widen or self.background > 0)


def labels_in(walked: Walked, labelling: Labelling, shape_of: Shapes) -> Labels:
    """Read the labels of the recordings in DATA, to which their paths become relative.

    Raises a UserError if a table is not there, or nothing can be made of one that was named.
    """
    data = walked.data
    read = read_labels(labelling.tables, data, labelling.columns, labelling.point, walked.audio)
    relative = {path: _within(data, Path(path)) for path in {*(one.file for one in read.annotations), *read.empty}}
    problems = [
        one._replace(reason=f"{one.reason}, which --point gives it") if one.kind == "point" else one
        for one in read.problems
    ]
    is_mono = cache(partial(_is_mono, data, shape_of))
    labels = Labels([], [path for file in read.empty if (path := relative[file])], problems)
    for one in read.annotations:
        if not (path := relative[one.file]):
            reason, kind = f"{printable(one.file)} {_outside(data, Path(one.file))}", "outside"
        elif not is_folder_name(one.label):
            reason, kind = f'"{printable(one.label)}" cannot be the name of a class', "class name"
        elif one.end == math.inf and not shape_of(path)[0]:
            reason, kind = f"it is the label of a whole file, and {printable(path)} does not tell its length", "whole"
        else:
            end = round(shape_of(path)[0], 6) if one.end == math.inf else one.end
            # The only channel of a recording is the recording.
            channel = 0 if one.channel == 1 and is_mono(path) else one.channel
            labels.annotations.append(one._replace(file=path, end=end, channel=channel))
            continue
        labels.problems.append(Problem(one.table, one.line, reason, kind))
    return labels


def shapes(data: Path) -> Shapes:
    """Return a function that looks up the shape of a recording in its header, once for each."""

    @cache
    def shape_of(recording: str) -> tuple[float, int]:
        # A run without labels need not load this.
        from featurize.audio.audio import ClipError
        from featurize.audio.decode import open_audio

        try:
            with open_audio(str(data / recording)) as audio:
                return audio.n_samples / audio.sr, audio.n_channels
        except ClipError:
            return 0.0, 0

    return shape_of


def _is_mono(data: Path, shape_of: Shapes, recording: str) -> bool:
    """Whether a recording has one channel, which libsndfile tells without reading a short file to its end."""
    import soundfile

    try:
        with soundfile.SoundFile(data / recording) as header:
            return bool(header.channels == 1)
    except (soundfile.LibsndfileError, OSError):
        return shape_of(recording)[1] == 1


def _within(data: Path, recording: Path) -> str:
    """Return the path of a recording relative to DATA, with "/"; "" if it is not a file in it."""
    for of in (os.path.abspath, os.path.realpath):
        path = os.path.relpath(of(recording), of(data)).replace(os.sep, "/")
        if not path.startswith("../") and is_utf8(path) and recording.is_file():
            return path
    return ""


def _outside(data: Path, recording: Path) -> str:
    """Return why _within() does not find a recording."""
    if not recording.is_file():
        return "is not a file"
    return "lies outside of " + str(data) if is_utf8(str(recording)) else "has a name that is not UTF-8; rename it"


def label_names(named: Iterable[Annotation]) -> list[str]:
    """Return the names of all labels in alphabetical order; of several ways to write one, the most frequent."""
    counts = Counter(one.label for one in named)
    ways: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        ways[plain(name)].append(name)
    return sorted(names[0] for names in ways.values())


def overlapping(used: Iterable[tuple[Annotation, int]]) -> Iterator[Problem]:
    """Yield each label, given with its class, that overlaps one of another class by more than half of both."""
    before: list[tuple[Annotation, int]] = []
    for one, label in sorted(used, key=lambda pair: (pair[0].file, pair[0].channel, pair[0].start)):
        place = (one.file, one.channel)
        before = [(other, i) for other, i in before if (other.file, other.channel) == place and other.end > one.start]
        for other, its_label in before:
            longer = max(one.end - one.start, other.end - other.start)
            is_same = (one.start, one.end) == (other.start, other.end)
            if label != its_label and not is_same and min(one.end, other.end) - one.start > longer / 2:
                names = f'"{printable(one.label)}" overlaps "{printable(other.label)}"'
                reason = f"{names} in {other.where} by more than half, so one sound is in two classes"
                yield Problem(one.table, one.line, reason, "overlap", skipped=False)
                break
        before.append((one, label))
