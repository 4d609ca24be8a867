"""The labels of the recordings in DATA, and the segments that are clips: labelled ones, and unlabelled background."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.header import Classes, Header, is_folder_name
from cache.labels.annotation import Annotation, Problem, told
from cache.labels.read import Labels, read_labels
from cache.shared.segment import Segment
from cache.shared.text import human_count, human_list, is_utf8, plain, printable
from cache.shared.tree import BACKGROUND
from featurize.audio.find import Clip, Walked

# The median may change by this share before all segments that depend on it are recomputed.
_TOLERATED_CHANGE = 0.1

# Draws for each background segment, before the widest gap is looked for.
_N_DRAWS = 200

# Names and recordings that a line shows.
_N_SHOWN = 12

Span = tuple[float, float]

# The seconds and the channels of a recording, by its path relative to DATA; zeros if they are not known.
Shapes = Callable[[str], tuple[float, int]]


class Segments(NamedTuple):
    """The segments of recordings."""

    clips: list[Clip]  # in the order of their recordings and of their starts
    # By label index, why a label of the class gives no clip: another class has the same segment.
    doubles: Mapping[int, Sequence[str]]
    problems: Sequence[Problem]  # remarks on single labels: these doubles, and sounds that are in two classes


def labels_in(walked: Walked, tables: Sequence[Path], header: Header, shape_of: Shapes) -> Labels:
    """Read the labels of the recordings in DATA, to which their paths become relative.

    Raises a UserError if a table is not there, or nothing can be made of one that was named.
    """
    data = walked.data
    read = read_labels(tables, data, header.columns, header.point, walked.audio)
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


def segments_of(
    data: Path,
    labels: Labels,
    header: Header,
    shape_of: Shapes,
    notify: Callable[[str], None],
) -> Segments:
    """Return the segments that are clips, and say which labels, whose paths are relative to DATA, give none.

    `shape_of` returns the seconds and channels of a recording.
    """
    class_of = class_by_label(header.members)
    _tell_unknown(Counter(one.label for one in labels.annotations if class_of(one.label) is None), notify)
    used = [(one, label) for one in labels.annotations if (label := class_of(one.label)) is not None]
    widened = [
        Segment(one.file, *_widened(one, header.label_length if header.widen else 0, shape_of), one.channel)
        for one, _ in used
    ]
    chosen: dict[Segment, tuple[Annotation, int]] = {}
    doubles: dict[int, list[Problem]] = defaultdict(list)
    for segment, (one, label) in zip(widened, used, strict=True):
        first, its_label = chosen.setdefault(segment, (one, label))
        if its_label != label:
            names = f'"{printable(one.label)}" labels the same segment as "{printable(first.label)}"'
            reason = f"{names} in {first.where}, and a clip has one class"
            doubles[label].append(Problem(one.table, one.line, reason, "double"))
    problems = [*(problem for found in doubles.values() for problem in found), *overlapping(used)]
    for line in told(problems):
        notify(line)
    clips = [(segment, label, one.where) for segment, (one, label) in chosen.items()]
    if header.background:
        background = header.class_names.index(BACKGROUND)
        clips += [(segment, background, "") for segment in _background(labels, widened, header, shape_of, notify)]
    reasons = {
        label: [f"{one.table.name}:{one.line}: {one.reason}" for one in found] for label, found in doubles.items()
    }
    return Segments(_clips(data, clips), reasons, problems)


def class_by_label(classes: Classes) -> Callable[[str], int | None]:
    """Return a function that finds the class of a label, in whatever case or Unicode form the label is written.

    Tables that `predict` writes have escapes for what would break a line.
    """
    exact = {name: i for i, members in enumerate(classes.values()) for name in members}
    plainly = {plain(printable(name)): i for name, i in reversed(exact.items())}
    return lambda label: exact.get(label, plainly.get(plain(printable(label))))


def usual_length(
    labels: Sequence[Annotation],
    classes: Classes,
    before: float,
    row_seconds: float,
    notify: Callable[[str], None],
) -> float:
    """Return the length in seconds to which labels are widened, and that of background.

    It is the median of the labels that are a class, or what it was `before` if that still fits: one label more or less
    changes the median a little, and must not cost all segments that depend on it. Without a label it is that of a row.
    """
    class_of = class_by_label(classes)
    used = [one for one in labels if class_of(one.label) is not None] or labels
    median = round(float(np.median([one.end - one.start for one in used])), 6) if used else row_seconds
    if before and abs(median - before) <= _TOLERATED_CHANGE * before:
        return before
    if before:
        notify(
            f"the median label is now {median:g} s long (it was {before:g} s), so widened and background segments are"
            " recomputed"
        )
    return median


def _tell_unknown(unknown: Counter[str], notify: Callable[[str], None]) -> None:
    if not unknown:
        return
    labels = human_count(unknown.total(), "label")
    if len(unknown) == 1:
        why = f'"{printable(next(iter(unknown)))}" is not one of the classes'
    else:
        why = f"these are not classes: {human_list([f'{n} {name}' for name, n in unknown.most_common()], _N_SHOWN)}"
    notify(f"{labels} skipped because {why}; --classes all includes every label")


def _widened(one: Annotation, length: float, shape_of: Shapes) -> Span:
    """Return the span of a label, widened around its middle if it is short, and moved to lie within its recording."""
    if one.end - one.start >= length:
        return one.start, one.end
    start = round((one.start + one.end - length) / 2, 6)
    seconds, _ = shape_of(one.file)
    # A label that starts behind the end of the recording stays there, and is named as such.
    if one.start < seconds < start + length:
        start = round(seconds - length, 6)
    start = max(0.0, start)
    return start, round(start + length, 6)


def _background(
    labels: Labels,
    widened: Iterable[Segment],
    header: Header,
    shape_of: Shapes,
    notify: Callable[[str], None],
) -> list[Segment]:
    """Return segments in which nothing is labelled, also nothing that is not a class."""
    spans: dict[str, list[Span]] = {recording: [] for recording in labels.empty}
    for one in labels.annotations:
        spans.setdefault(one.file, []).append((one.start, one.end))
    for segment in widened:
        spans[segment.recording].append((segment.start, segment.end))
    found: list[Segment] = []
    short: dict[str, int] = {}
    for recording, taken in spans.items():
        free = _unlabelled(recording, taken, shape_of(recording)[0], header.label_length, header.background)
        found += [Segment(recording, *span) for span in free]
        if len(free) < header.background:
            short[recording] = len(free)
    if short:
        notify(_short_of_room(short, header))
    return found


def _short_of_room(short: Mapping[str, int], header: Header) -> str:
    segments = f"{header.background} background segments of {header.label_length:g} s"
    if len(short) == 1:
        [(recording, n)] = short.items()
        return f"{printable(recording)}: {n or 'none'} of the {segments} fit{'s' * (n < 2)} between its labels"
    shown = human_list([f"{recording} ({n})" for recording, n in short.items()], _N_SHOWN)
    return f"fewer than {segments} fit between the labels of {human_count(len(short), 'recording')}: {shown}"


def _clips(data: Path, segments: Iterable[tuple[Segment, int, str]]) -> list[Clip]:
    status = cache(lambda recording: os.stat(data / recording))  # noqa: PTH116
    clips = []
    for segment, label, where in segments:
        known = status(segment.recording)
        clips.append(Clip(segment.path, label, known.st_size, known.st_mtime_ns, known.st_ino, segment, where))
    return sorted(clips, key=lambda clip: (clip.file, *clip.span))


def _unlabelled(recording: str, labelled: Sequence[Span], seconds: float, length: float, n: int) -> list[Span]:
    """Return up to `n` spans of a length in which nothing is labelled, fewer if there is no room; all are in seconds.

    They are drawn one by one, by the recording's path as the seed, so that one label more costs only those that it is
    in.
    """
    seconds = seconds or max((end for _, end in labelled), default=0.0)
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
    return taken


def _is_free(starts: npt.NDArray[np.float64], length: float, labelled: Sequence[Span]) -> npt.NDArray[np.bool_]:
    """Return which of these starts begin a segment of a length that meets no label."""
    if not labelled:
        return np.ones(len(starts), np.bool_)
    first, last = np.array(sorted(labelled)).T
    # Among the labels that begin before the segment ends, the one that ends last.
    before = np.searchsorted(first, starts + length) - 1
    reach = np.maximum.accumulate(last)[np.maximum(before, 0)]
    free: npt.NDArray[np.bool_] = (before < 0) | (reach <= starts)
    return free


def _widest_gap(labelled: Iterable[Span], seconds: float) -> Span:
    gaps, end = [], 0.0
    for a, b in sorted(labelled):
        gaps.append((end, a))
        end = max(end, b)
    return max([*gaps, (end, seconds)], key=lambda gap: gap[1] - gap[0])
