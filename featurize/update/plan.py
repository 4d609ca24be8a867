"""Plan of a run: which rows it can reuse, which clips it must compute, which are known to be bad."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.columns import COLUMNS, Columns, Rejected
from cache.file.header import Header
from cache.file.journal import Journal, recorded
from cache.file.reader import Cache
from cache.labels.corrections import FILE, Correction, Decision, read_corrections, still_holds
from cache.shared.segment import MIDDLE, Crop, Segment
from cache.shared.text import human_count
from featurize.audio.find import Clip, Found

if TYPE_CHECKING:
    from featurize.workers.batch import Task

# The source of a row, in `Plan.source`: i >= 0 is row i of the old cache, -1 - i is slot i of the file of rows.
_PENDING = np.iinfo(np.int64).min


class Corrections(NamedTuple):
    """The decisions of reviewers, by the content's sha256, for a cache with these classes."""

    by_content: Mapping[str, Correction] = MappingProxyType({})
    class_names: Sequence[str] = ()

    def of(self, clip: Clip, sha256: str) -> Clip | Rejected:
        """Return a clip of some content with its right class, or why it is rejected."""
        one = self.by_content.get(sha256)
        if one is not None and (reason := one.why_rejected(self.class_names)):
            return clip.rejected(reason)
        if one is None or one.decision is not Decision.CHANGE or self.class_names[clip.label] == one.new:
            return clip
        return clip._replace(label=self.class_names.index(one.new), corrected=1 + clip.label)

    def still_bad(self, bad: dict[str, Rejected]) -> dict[str, Rejected]:
        """Return the rejected clips without those that were rejected because of a correction that no longer holds."""
        holds = still_holds(self.by_content, self.class_names)
        return {path: one for path, one in bad.items() if holds(path, one.reason)}


NONE = Corrections()


def corrections_of(cache_file: Path, class_names: Sequence[str], notify: Callable[[str], None]) -> Corrections:
    """Read the corrections beside a cache.

    Raises a UserError if corrections.csv cannot be read, or is another table.
    """
    return Corrections(read_corrections(cache_file.with_name(FILE), notify), class_names)


@dataclass(eq=False, repr=False)
class Plan:
    """The clips of a cache, each with the rows that it has or the task that makes them."""

    clips: list[Clip]  # all clips, in final order
    source: npt.NDArray[np.int64]  # the source of each clip's first row, as `cache.file.publish.publish` takes it
    tasks: "list[Task]"  # the clips that must be read
    rejected: dict[str, Rejected]  # the clips that are known to be unusable, by path
    crop: Crop  # how long clips become rows


def why_recompute(old: Cache, header: Header) -> str:
    """Return in words what makes the rows of an old cache useless, or "" if they can be reused."""
    if old.feature_version != header.feature_version:
        return f"the feature code is version {header.feature_version}, the cache's was {old.feature_version}"
    for name, value in header.settings.as_dict().items():
        if old.settings[name] != value:
            return f"{name} is {value!r}, the cache's was {old.settings[name]!r}"
    if old.X.dtype.name != header.dtype:
        return f"the dtype is {header.dtype}, the cache's was {old.X.dtype.name}"
    return ""


def why_cut_again(old: Cache, header: Header) -> str:
    """Return in words how many rows of an old cache are useless because of the crop, and why; "" for none."""
    n = old.n_longer
    for name, value in header.cropping._asdict().items():
        if n and (before := getattr(old.header, name)) != value:
            clips = human_count(old.n_clips, "clip")
            longer = "is longer than a row, so it is" if n == 1 else "are longer than a row, so they are"
            return f"{n} of {clips} {longer} computed again: {name} is {value!r}, the cache's was {before!r}"
    return ""


def make_plan(
    found: Found,
    old: Cache | None,
    journal: Journal | None,
    rehash: bool,
    corrections: Corrections = NONE,
    crop: Crop = MIDDLE,
) -> Plan:
    """Decide for every clip whether its row is there already, in the old cache or in the journal.

    If contents are compared (`rehash`), every clip is read, and only those of new content are computed. A clip that was
    rejected for a correction is computed when that no longer holds.
    """
    sources = _sources(old, journal, crop)
    source = np.array([sources.get(clip.path, _PENDING) for clip in found.clips], np.int64)
    there = np.flatnonzero(source != _PENDING)
    has_size, has_time, has_inode = (
        _of_clips(name, found.clips)[there] == recorded(name, source[there], old, journal)
        for name in ("size", "mtime_ns", "inode")
    )
    is_known = has_size & has_time & has_inode & (not rehash)
    # A file of another number is another file, which an unpacked archive gives the size and time of this one.
    alike = there[~is_known & (has_size & has_time | rehash)]
    sha256 = dict(zip(alike.tolist(), recorded("sha256", source[alike], old, journal).tolist(), strict=True))
    source[there[~is_known]] = _PENDING
    rejected = {clip.path: clip for clip in found.rejected}
    bad = {} if rehash else corrections.still_bad(_known_bad(old, journal))
    tasks = []
    for i in np.flatnonzero(source == _PENDING).tolist():
        # A run that finds nothing to do need not load this.
        from featurize.workers.batch import Task

        clip = found.clips[i]
        one = bad.get(clip.path)
        if one is not None and (one.size, one.mtime_ns, one.inode) == (clip.size, clip.mtime_ns, clip.inode):
            rejected[clip.path] = one
        else:
            tasks.append(Task(clip, sha256.get(i, b"").decode(), crop))
    return Plan(found.clips, source, tasks, rejected, crop)


def _of_clips(name: str, clips: Sequence[Clip]) -> npt.NDArray[Any]:
    """Return a column of the cache that the walk gives, a value for each clip."""
    return np.array([getattr(clip, name) for clip in clips], COLUMNS[name])


def _sources(old: Cache | None, journal: Journal | None, crop: Crop) -> dict[str, int]:
    """Return the source of the first row of every clip that has rows by this crop, by path."""
    sources = {} if old is None else dict(zip(old.clip_paths, old.first_rows.tolist(), strict=True))
    if old is not None and old.header.cropping != crop:
        # A clip that is not longer than a row is the same row by any crop.
        sources = dict(compress(sources.items(), (~old.is_longer).tolist()))
    if journal is not None:
        sources.update((path, -1 - slot) for path, slot in journal.slots.items())
    return sources


def _known_bad(old: Cache | None, journal: Journal | None) -> dict[str, Rejected]:
    bad = {} if old is None else {clip.path: clip for clip in old.rejected_clips}
    return bad | journal.rejected if journal is not None else bad


def settle(plan: Plan, old: Cache | None, journal: Journal) -> None:
    """Enter what the run found out: every clip now has a row, new or known to be unchanged, or is rejected."""
    sources = _sources(old, journal, plan.crop)
    index = {clip.path: i for i, clip in enumerate(plan.clips)}
    for task in plan.tasks:
        path = task.clip.path
        if path in journal.rejected:
            plan.rejected[path] = journal.rejected[path]
        else:
            plan.source[index[path]] = sources[path]
    plan.tasks = []


def correct(plan: Plan, corrections: Corrections, old: Cache | None, journal: Journal | None) -> Plan:
    """Return a plan, in which every clip that it has a row for has the class that reviewers gave it, or is rejected."""
    if not corrections.by_content:
        return plan
    clips, source, rejected = list(plan.clips), plan.source.copy(), dict(plan.rejected)
    there = np.flatnonzero(source != _PENDING)
    for i, sha256 in zip(there.tolist(), recorded("sha256", source[there], old, journal).tolist(), strict=True):
        decided = corrections.of(clips[i], sha256.decode())
        if isinstance(decided, Rejected):
            source[i], rejected[decided.path] = _PENDING, decided
        else:
            clips[i] = decided
    return replace(plan, clips=clips, source=source, rejected=rejected)


def is_published(plan: Plan, old: Cache | None, header: Header) -> bool:
    """Whether the old cache is already what this plan would publish."""
    if old is None or plan.tasks or old.header.request != header.request:
        return False
    clips, source = usable(plan)
    first = old.first_rows
    if _known_bad(old, None) != plan.rejected or not np.array_equal(source, first):
        return False
    # The class of a segment or of a corrected clip may have changed and nothing else.
    if not np.array_equal([clip.label for clip in clips], old.labels[first]):
        return False
    # A clip of the same content may have a new time, which the cache has to take, or every run would compare it again.
    return all(
        np.array_equal(_of_clips(name, clips), old.columns[name][first]) for name in ("corrected", "mtime_ns", "inode")
    )


def unusable_classes(plan: Plan, n_classes: int) -> dict[int, str]:
    """Return, by label index, why a class has no clip with a row."""
    there = {clip.label for clip in usable(plan)[0]}
    reasons: dict[int, str] = {}
    for clip in sorted(plan.clips, key=lambda clip: clip.path):
        if clip.label not in there:
            where = f"{clip.where}: " if clip.where else ""
            reasons.setdefault(clip.label, f"{clip.path}: {where}{plan.rejected[clip.path].reason}")
    return {label: reasons[label] for label in range(n_classes) if label in reasons}


def without(plan: Plan, gone: Collection[int], clips: list[Clip]) -> Plan:
    """Return the plan without the clips of some classes; `clips` are the others, by their new label indices."""
    paths = {clip.path for clip in plan.clips if clip.label in gone}
    kept = np.array([clip.label not in gone for clip in plan.clips], np.bool_)
    rejected = {path: clip for path, clip in plan.rejected.items() if path not in paths}
    return Plan(clips, plan.source[kept], [], rejected, plan.crop)


def n_rows_to_write(plan: Plan, n_new: int, old: Cache | None, journal: Journal) -> int:
    """Return how many rows this plan writes, copies included, if it computes so many."""
    kept = np.array([clip.path not in plan.rejected for clip in plan.clips], np.bool_)
    source, n_rows = plan.source[kept], _n_rows(plan.clips, plan.source, old, journal)[kept]
    n_known, n_there = np.count_nonzero(n_rows), int(n_rows.sum())
    # Rows that lie where they belong stay there; otherwise all of them are copied into a new file.
    slots = -1 - (np.cumsum(n_rows) - n_rows)
    in_place = n_there == journal.n_slots and np.array_equal(source[:n_known], slots[:n_known])
    return n_new if in_place else n_new + n_there + n_new


def usable(plan: Plan) -> tuple[list[Clip], npt.NDArray[np.int64]]:
    """Return the clips that have rows, and where the first of each comes from."""
    there = plan.source != _PENDING
    return list(compress(plan.clips, there.tolist())), plan.source[there]


def rows_of(
    clips: Sequence[Clip], source: npt.NDArray[np.int64], old: Cache | None, journal: Journal
) -> tuple[npt.NDArray[np.int64], Columns, npt.NDArray[np.intp]]:
    """Return all rows of clips: where each comes from, the columns, and the label indices.

    The source of a clip is that of its first row; the others follow it.
    """
    n_rows = _n_rows(clips, source, old, journal)
    which = np.repeat(np.arange(len(clips)), n_rows)
    step = np.arange(len(which)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    source = np.where(source[which] < 0, source[which] - step, source[which] + step)
    paths = np.array([clip.path.encode() for clip in clips], "S")[which]
    spans = np.array([clip.span for clip in clips], "<f8").reshape(-1, 2)[which]
    of_window = recorded("clip_duration", source, old, journal) > 0
    of_clip = np.where(of_window, paths, b"")
    if of_window.any():
        spans[of_window] = np.stack([recorded(name, source, old, journal) for name in ("start", "end")], 1)[of_window]
        windows = [_window(clips[which[i]], *spans[i].tolist()) for i in np.flatnonzero(of_window).tolist()]
        paths = paths.astype(f"S{max(paths.itemsize, *map(len, windows))}")
        paths[of_window] = windows
    columns: Columns = {"path": paths, "start": spans[:, 0], "end": spans[:, 1], "clip": of_clip}
    columns |= {name: _of_clips(name, clips)[which] for name in ("size", "mtime_ns", "inode", "corrected")}
    columns |= {name: recorded(name, source, old, journal) for name in COLUMNS.keys() - columns.keys()}
    return source, columns, np.array([clip.label for clip in clips], np.intp)[which]


def _n_rows(
    clips: Sequence[Clip], source: npt.NDArray[np.int64], old: Cache | None, journal: Journal
) -> npt.NDArray[np.intp]:
    """Return how many rows clips have; 0 for those that must be computed."""
    n_rows = np.array([journal.n_rows.get(clip.path, 1) for clip in clips], np.intp)
    if old is not None:
        n_rows[source >= 0] = np.bincount(old.clips)[old.clips[source[source >= 0]]]
    n_rows[source == _PENDING] = 0
    return n_rows


def _window(clip: Clip, start: float, end: float) -> bytes:
    channel = clip.segment.channel if clip.segment else 0
    return Segment(clip.file, start, end, channel).path.encode()
