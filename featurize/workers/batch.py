"""A batch of clips to finished rows; pure and picklable, so any executor can run it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.file.columns import Rejected, Row
from cache.file.settings import MelSettings
from cache.shared.segment import MIDDLE, Crop
from featurize.audio.audio import ClipError
from featurize.audio.decode import open_audio
from featurize.audio.find import Clip
from featurize.audio.pieces import cut
from featurize.workers.rows import Room, add_rows

# Segments of a recording beyond this number, which fill 34 MB of rows, are another work item.
_MOST_SEGMENTS = 512
# Rows, as much memory, that may wait for a long segment before them.
MOST_HELD = 512


class Task(NamedTuple):
    """A clip to compute, unless its content is still that of `known_sha256` ("" for none)."""

    clip: Clip
    known_sha256: str
    crop: Crop = MIDDLE


class Done(NamedTuple):
    """The results of a batch."""

    rows: list[Row]  # of the clips that were computed, those of a clip together
    X: npt.NDArray[np.floating]  # their spectrograms, shape (len(rows), 128, 128, 1), or none if they stay in the room
    unchanged: list[str]  # paths of the clips whose content was already known
    rejected: list[Rejected]  # the clips that cannot be used
    in_file: bool = False  # whether the spectrograms are in a file


def work_items(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Yield the tasks in work items, which one worker computes as a whole: a clip, or the segments of a recording."""
    item: list[Task] = []
    for task in tasks:
        is_more = task.clip.segment and item and task.clip.file == item[0].clip.file and len(item) < _MOST_SEGMENTS
        if not is_more:
            if item:
                yield item
            item = []
        item.append(task)
    if item:
        yield item


def n_bytes_of(tasks: Iterable[Task]) -> int:
    """Return how many bytes are read to compute some clips."""
    return sum(item[0].clip.size for item in work_items(tasks))


def files_of(data: str, tasks: Iterable[Task]) -> list[str]:
    """Return the files that some clips are in, each once."""
    return list(dict.fromkeys(f"{data}/{task.clip.file}" for task in tasks))


def featurize_batch(
    data: str,
    tasks: Sequence[Task],
    settings: MelSettings,
    room: Room,
    begin: Callable[[int], None] = lambda position: None,
) -> Done:
    """Compute the rows of some clips, whose paths are relative to the folder `data`.

    Before a work item is computed, `begin` takes the number of tasks before it. Raises an OSError if the room's file
    cannot be written.
    """
    done = Done([], room.block[:0], [], [])
    position = 0
    for item in work_items(tasks):
        begin(position)
        position += len(item)
        if item[0].clip.segment:
            _compute_segments(data, item, settings, room, done)
        else:
            _compute(data, item[0], settings, room, done)
        if room.error is not None:
            raise room.error
    return done._replace(X=room.close())


def _compute(data: str, task: Task, settings: MelSettings, room: Room, done: Done) -> None:
    clip, n_before = task.clip, room.n
    try:
        with open_audio(f"{data}/{clip.path}", clip.size, clip.mtime_ns) as audio:
            sha256 = audio.sha256()
            rows = [] if sha256 == task.known_sha256 else add_rows(clip, audio, sha256, settings, task.crop, room)
    except ClipError as error:
        room.cut(n_before)
        done.rejected.append(clip.rejected(str(error), error.passing))
        return
    done.rows.extend(rows)
    if not rows:
        done.unchanged.append(clip.path)


def _compute_segments(data: str, tasks: Sequence[Task], settings: MelSettings, room: Room, done: Done) -> None:
    """Compute segments of one recording while it is decoded, and add their results to `done`, in order."""
    clip = tasks[0].clip
    ready = _InOrder(room)
    bad: dict[int, ClipError] = {}
    same: set[int] = set()
    trouble = ClipError("")
    try:
        with open_audio(f"{data}/{clip.file}", clip.size, clip.mtime_ns) as audio:
            content = audio.sha256()
            segments = [task.clip.segment for task in tasks if task.clip.segment is not None]
            sha256 = [segment.sha256(content) for segment in segments]
            same = {i for i, task in enumerate(tasks) if task.known_sha256 == sha256[i]}
            wanted = [i for i in range(len(tasks)) if i not in same]
            for which, piece in cut(audio, [segments[i] for i in wanted]):
                i = wanted[which]
                try:
                    ready.add(which, partial(add_rows, tasks[i].clip, piece, sha256[i], settings, tasks[i].crop))
                except ClipError as error:
                    bad[i] = error
    except ClipError as error:
        trouble = error
        if error.passing:
            # Samples of a file that changed meanwhile are worth nothing.
            ready.forget()
            same = set()
    ready.finish()
    done.rows.extend(ready.rows)
    done.unchanged.extend(tasks[i].clip.path for i in sorted(same))
    there = {row.clip or row.path for row in ready.rows}.union(done.unchanged)
    for i, task in enumerate(tasks):
        if task.clip.path not in there:
            why = bad.get(i, trouble)
            done.rejected.append(task.clip.rejected(str(why), why.passing))


class _InOrder:
    """The rows of segments, which reach a room in the order of the segments although a long one is finished late.

    If too many wait for it, they go first, which costs a copy when the cache is published.
    """

    def __init__(self, room: Room) -> None:
        self.rows: list[Row] = []
        self._room, self._n_before = room, room.n
        self._held: dict[int, tuple[list[Row], npt.NDArray[np.floating]]] = {}
        self._next = 0

    def add(self, which: int, add_to: Callable[[Room], list[Row]]) -> None:
        """Compute the rows of a segment by its place in the order; one that raises a ClipError has none."""
        is_next = which == self._next
        room = self._room if is_next else Room(np.empty_like(self._room.block[:1]))
        n_before, rows = room.n, list[Row]()
        try:
            rows = add_to(room)
        finally:
            if not rows:
                room.cut(n_before)
            self.rows += rows * is_next
            self._held[which] = (rows, room.close()) if rows and not is_next else ([], room.block[:0])
            while self._next in self._held:
                self._release(self._next)
            if sum(len(held) for held, _ in self._held.values()) > MOST_HELD:
                self.finish()

    def forget(self) -> None:
        """Take all rows back."""
        self._room.cut(self._n_before)
        self.rows, self._held = [], {}

    def finish(self) -> None:
        """Add what waits for segments that did not come."""
        for which in sorted(self._held):
            self._release(which)

    def _release(self, which: int) -> None:
        rows, X = self._held.pop(which)
        for x in X:
            self._room.next()[...] = x
            self._room.add()
        self.rows += rows
        self._next = which + 1
