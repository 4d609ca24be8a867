"""labelled_clips(): the segments of recordings that tables of labels name, and segments in which nothing is named."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.header import is_folder_name
from cache.labels.annotation import Annotation, Problem, told
from cache.labels.read import Labels, read_labels
from cache.shared.errors import UserError
from cache.shared.segment import Segment
from cache.shared.text import plain, printable
from cache.shared.tree import is_utf8
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.find import Clip

BACKGROUND = "background"

# By so much the median may change before all that was made of it is made anew.
_TOLERATED_CHANGE = 0.1

# Draws for a segment without labels, before the widest gap is looked for.
_N_DRAWS = 200

Span = tuple[float, float]


class Labelling(NamedTuple):
    """Which labels are asked for.

    Attributes
    ----------
    tables
        Tables of labels, and folders of them.
    column
        Which column holds the label; "" for the usual ones.
    widen
        Whether labels shorter than the median are widened to it around their middle.
    background
        How many segments without a label to take of each labelled recording.
    length
        The median in seconds, as it was when segments were first made of it; 0 if it is not known.
    """

    tables: tuple[Path, ...] = ()
    column: str = ""
    widen: bool = False
    background: int = 0
    length: float = 0.0

    @property
    def has_length(self) -> bool:
        """Whether the median length of the labels matters."""
        return bool(self.tables) and (self.widen or self.background > 0)


def labels_in(data: Path, labelling: Labelling) -> Labels:
    """Read the labels of the recordings in DATA, to which their paths become relative.

    Raises
    ------
    UserError
        A table is not there, nothing can be made of one that was named, or no label of all can be used.
    """
    if not labelling.tables:
        return Labels([], [], [])
    read = read_labels(labelling.tables, data, labelling.column or None)
    relative = {path: _within(data, Path(path)) for path in {*(one.file for one in read.annotations), *read.empty}}
    shape = lru_cache(maxsize=None)(_shape)
    labels = Labels([], [path for file in read.empty if (path := relative[file])], [*read.problems])
    for one in read.annotations:
        if not (path := relative[one.file]):
            reason, kind = f"{printable(one.file)} {_outside(data, Path(one.file))}", "outside"
        elif not is_folder_name(one.label):
            reason, kind = f'"{printable(one.label)}" cannot be the name of a class', "class name"
        elif one.end == math.inf and not shape(one.file)[0]:
            reason, kind = f"it is the label of a whole file, and {printable(path)} does not tell its length", "whole"
        else:
            end = round(shape(one.file)[0], 6) if one.end == math.inf else one.end
            # The channel of a recording that has one is the recording.
            channel = 0 if one.channel == 1 and shape(one.file)[1] == 1 else one.channel
            labels.annotations.append(one._replace(file=path, end=end, channel=channel))
            continue
        labels.problems.append(Problem(one.table, one.line, reason, kind))
    if not labels.annotations:
        raise UserError("; ".join(["none of the labels can be used", *told(labels.problems)]))
    return labels


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


def labelled_clips(
    data: Path, class_names: Sequence[str], labelling: Labelling, notify: Callable[[str], None]
) -> list[Clip]:
    """Return the segments that are clips, in the order of their recordings and of their starts.

    Parameters
    ----------
    data
        DATA, in which the recordings are.
    class_names
        The position is the label index. A label may be written in another case or Unicode form.
    labelling
        Which labels.
    notify
        Takes what is left out, a line each.

    Raises
    ------
    UserError
        A table is not there, or nothing can be made of it.
    """
    named, empty, problems = labels_in(data, labelling)
    for line in told(problems):
        notify(line)
    label_of = _label_of(class_names)
    index = {name: label_of.get(name, label_of.get(plain(name))) for name in {one.label for one in named}}
    unknown = Counter(one.label for one in named if index[one.label] is None)
    if unknown:
        counted = ", ".join(f"{n} {printable(name)}" for name, n in unknown.most_common(12))
        more = f" and {len(unknown) - 12} more names" if len(unknown) > 12 else ""
        notify(f"labels that are no class: {counted}{more}; --classes all takes them")
    used = [one for one in named if index[one.label] is not None]
    length = labelling.length or _median_length(used or named)
    chosen: dict[Segment, tuple[int, Annotation]] = {}
    spans: dict[str, list[Span]] = defaultdict(list)
    # Also what is no class is heard there.
    for recording in empty:
        spans[recording] = []
    for label in named:
        spans[label.file].append((label.start, label.end))
    for label in used:
        span = _widened(label, length) if labelling.widen else (label.start, label.end)
        mine, segment = index[label.label], Segment(label.file, *span, label.channel)
        assert mine is not None
        spans[label.file].append(span)
        before = chosen.setdefault(segment, (mine, label))
        if before[0] != mine:
            notify(
                f"{label.where}: {printable(label.label)} left out: the same segment is"
                f" {printable(class_names[before[0]])} in {before[1].where}, and a clip has one class"
            )
    clips = [_clip(data, segment, i, label.where) for segment, (i, label) in chosen.items()]
    if labelling.background:
        silent = label_of[BACKGROUND]
        for recording, of_it in spans.items():
            clips += [
                _clip(data, Segment(recording, *span), silent, "")
                for span in _unlabelled(data, recording, of_it, length, labelling.background, notify)
            ]
    return sorted(clips, key=lambda clip: (clip.file, *clip.span))


def _clip(data: Path, segment: Segment, label: int, where: str) -> Clip:
    status = os.stat(data / segment.recording)  # noqa: PTH116
    return Clip(segment.path, label, status.st_size, status.st_mtime_ns, status.st_ino, segment, where)


def _label_of(class_names: Sequence[str]) -> dict[str, int]:
    plainly = {plain(name): i for i, name in reversed(list(enumerate(class_names)))}
    return plainly | {name: i for i, name in enumerate(class_names)}


def usual_length(
    named: Sequence[Annotation], class_names: Sequence[str], before: float, notify: Callable[[str], None]
) -> float:
    """Return the median length of the labels that are a class, in seconds, or what it was before if that still fits.

    One label more or less changes the median a little, and must not cost all segments that were made of it.
    """
    classes = _label_of(class_names)
    used = [one for one in named if one.label in classes or plain(one.label) in classes]
    length = _median_length(used or named)
    if before and abs(length - before) <= _TOLERATED_CHANGE * before:
        return before
    if before and length:
        notify(
            f"the median label has {length:g} s, and had {before:g} s: what is widened to it, and"
            " background, is made anew"
        )
    return length


def _median_length(named: Sequence[Annotation]) -> float:
    return round(float(np.median([one.end - one.start for one in named])), 6) if named else 0.0


def _widened(label: Annotation, length: float) -> Span:
    if label.end - label.start >= length:
        return label.start, label.end
    start = max(0.0, round((label.start + label.end - length) / 2, 6))
    return start, round(start + length, 6)


def _unlabelled(
    data: Path, recording: str, labelled: Sequence[Span], length: float, n: int, notify: Callable[[str], None]
) -> list[Span]:
    """Return segments in which nothing is labelled, by the recording's path the same at every run.

    They are drawn one by one, so that a label more costs those alone that it is in.
    """
    seconds = _shape(str(data / recording))[0] or max((end for _, end in labelled), default=0.0)
    rng = np.random.default_rng(int.from_bytes(sha256(recording.encode()).digest()[:8]))
    starts = np.round(rng.random(_N_DRAWS * n) * max(0.0, seconds - length), 3)
    taken: list[Span] = []
    for start in starts[_is_free(starts, length, labelled)].tolist() if seconds > length else []:
        if len(taken) == n:
            break
        if not any(a < start + length and start < b for a, b in taken):
            taken.append((start, round(start + length, 6)))
    while len(taken) < n and (gap := _widest_gap([*labelled, *taken], seconds))[1] - gap[0] >= length:
        taken.append((round(gap[0], 6), round(round(gap[0], 6) + length, 6)))
    if len(taken) < n:
        notify(
            f"{printable(recording)}: there is room for {len(taken)} of {n} segments of {length:g} s without a label"
        )
    return taken


def _is_free(starts: npt.NDArray[np.float64], length: float, spans: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Say which of these starts begin a segment of a length that meets none of the spans."""
    if not spans:
        return np.ones(len(starts), bool)
    first, last = np.array(sorted(spans)).T
    # Of the spans that begin before the segment ends, the one that ends last.
    before = np.searchsorted(first, starts + length) - 1
    reach = np.maximum.accumulate(last)[np.maximum(before, 0)]
    free: npt.NDArray[np.bool_] = (before < 0) | (reach <= starts)
    return free


def _widest_gap(spans: Iterable[Span], seconds: float) -> Span:
    gaps, end = [], 0.0
    for a, b in sorted(spans):
        gaps.append((end, a))
        end = max(end, b)
    return max([*gaps, (end, seconds)], key=lambda gap: gap[1] - gap[0])


def _shape(recording: str) -> tuple[float, int]:
    """Return the seconds and the channels that a recording's header states; zeros if it cannot be read."""
    try:
        with open_audio(recording) as audio:
            return audio.n_samples / audio.sr, audio.n_channels
    except ClipError:
        return 0.0, 0
