"""make_queue(): the clips of a run to review, the most doubtful labels first."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cache import Cache
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.text import human_count
from train.dataset.splits import group_names
from train.report.mistakes import find_suspects, least_certain, verdict, worst_mistakes
from train.runs.record import FINISHED, Record
from train.runs.tables import read_nearest, read_predictions


class Item(NamedTuple):
    """A clip to review: its row in the cache, the first if it has several, and the reason why it is shown.

    `probabilities` are the network's mean ones over its tests, by class, the highest first; `group` is the speaker, the
    recorder or the recording, by which the run kept clips together; `near` has the rows of the clips most like it, the
    nearest first, and first those with its label.
    """

    row: int
    path: str
    sha256: str
    label: str
    probabilities: dict[str, float]
    why: str
    group: str
    near: list[int]


class Queue(NamedTuple):
    """The clips of a run in the order of review; the first `n_suspects` are those whose label is probably wrong."""

    items: list[Item]
    n_suspects: int


def make_queue(
    folder: Path, record: Record, cache: Cache, notify: Callable[[str], None], class_name: str | None = None
) -> Queue:
    """Order the clips that a run tested: suspects, then other mistakes, then the least certain of the others.

    A cross-validation, which tests all clips, is better for that than a fit. Clips that the cache does not have any
    more, or under another label, are skipped with a notice. With a class name, only clips with this label are taken.
    Raises a UserError if the run is not finished or tested no clips, there is no such class, or there is nothing to
    review.
    """
    if record.state != FINISHED or record.metrics is None:
        raise UserError(f"{folder} has no predictions to review; give a finished fit or cross-validation with a test")
    names = record.class_names
    if class_name is not None and class_name not in names:
        raise UserError(f"there is no class {class_name!r} in {folder}; there are {', '.join(names)}")
    tested = read_predictions(folder, names)
    suspects = find_suspects(tested).tolist()
    others = [*worst_mistakes(tested).tolist(), *least_certain(tested).tolist()]
    order = list(dict.fromkeys([*suspects, *others]))
    rows = dict(zip(cache.clip_paths, cache.first_rows.tolist(), strict=True))
    groups = dict(zip(rows, group_names([*rows], record.group_by), strict=True))
    nearest = read_nearest(folder)
    if not nearest:
        notify(f"{folder} does not know which clips are alike (an earlier version trained it), so none are shown")
    mean, doubted = tested.mean, set(suspects)
    items, n_suspects, n_gone = [], 0, 0
    for clip in order:
        path, true, p = tested.paths[clip], int(tested.labels[clip]), mean[clip].tolist()
        if class_name not in (None, names[true]):
            continue
        if path not in rows or cache.class_names[cache.labels[rows[path]]] != names[true]:
            n_gone += 1
            continue
        best = int(mean[clip].argmax())
        why = verdict(names[best], p[best], names[true], p[true]) if best != true else "the network is not sure"
        shares = dict(sorted(zip(names, p, strict=True), key=lambda share: -share[1]))
        sha256 = cache.columns["sha256"][rows[path]].decode()
        group = groups[path] or recording_of(path)
        why, near = f"{why[0].upper()}{why[1:]}.", [rows[other] for other in nearest.get(path, ()) if other in rows]
        items.append(Item(rows[path], path, sha256, names[true], shares, why, group, near))
        n_suspects += clip in doubted
    if n_gone:
        notify(
            f"{human_count(n_gone, 'clip')} skipped, because {cache.file} does not have them any more or has them"
            " under another label"
        )
    if not items:
        raise UserError(f"{folder} has no clips to review")
    return Queue(items, n_suspects)
