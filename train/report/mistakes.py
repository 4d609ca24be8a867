"""Clips of a run that are worth a look: mistakes, doubtful labels and the least certain of the others; as cards."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache
from cache.shared.files import as_path, refuse_existing, replacing
from cache.shared.text import csv_line, human_percent
from cache.shared.types import Rows
from train.dataset.rows import seconds_shown
from train.report.figures import Picture, picture_of
from train.report.page import Player, players
from train.report.sections import Shown
from train.runs.record import Record, read_record
from train.runs.tables import Predictions, read_predictions, read_split

# The most that a page shows, so that it stays a page.
MAX_MISTAKES = 30
MAX_UNCERTAIN = 9
# Probabilities shown of a clip: the highest ones, and always that of the true class.
MAX_PROBABILITIES = 4

# A clip "clearly" sounds like a class that is this probable, while its label is this improbable.
_CLEAR, _RULED_OUT = 0.9, 0.05


class Probability(NamedTuple):
    """One bar of a card; its kind is "true", "wrong" (the predicted class) or "other"."""

    name: str
    p: float
    kind: str


class Card(NamedTuple):
    """One clip; without its cache it has no picture."""

    path: str
    true: str
    predicted: str
    probabilities: list[Probability]
    notes: list[str]
    player: Player
    picture: Picture | None


class Cards(NamedTuple):
    """The clips that are worth a look, each as cards out of `n`."""

    n_tested: int
    n_suspects: int
    mistakes: Shown[Card]
    uncertain: Shown[Card]


def mistakes_and_others(tested: Predictions) -> tuple[Rows, Rows]:
    """Return the clips whose mean probability is highest for a wrong class, and the others.

    In both, the clip whose true class is the least probable comes first.
    """
    mean = tested.mean
    clips = np.argsort(mean[np.arange(len(mean)), tested.labels], kind="stable")
    is_right = mean[clips].argmax(axis=1) == tested.labels[clips]
    return clips[~is_right], clips[is_right]


def find_suspects(tested: Predictions) -> Rows:
    """Return the clips whose label the model disputes, the widest margin first.

    This is confident learning (C. Northcutt et al., JAIR 2021). A clip counts for a class if the probability of that
    class is at least its mean among the clips with that label. A clip is suspect if the most probable class that it
    counts for is not its label, and its label is not the most probable class of all. The margin is how far the
    probability of the label lies below that of the other class.
    """
    mean, n_classes = tested.mean, tested.probabilities.shape[1]
    own = [mean[tested.labels == label, label] for label in range(n_classes)]
    thresholds = np.array([p.mean() if len(p) else np.inf for p in own])
    counts_for = np.where(mean >= thresholds, mean, 0.0).argmax(axis=1)
    counts = (mean >= thresholds).any(axis=1)
    clips = np.flatnonzero(counts & (counts_for != tested.labels) & (mean.argmax(axis=1) != tested.labels))
    margins = mean[clips, tested.labels[clips]] - mean[clips].max(axis=1)
    return clips[np.argsort(margins, kind="stable")]


def write_suspects(run: str | Path, out: str | Path) -> int:
    """Write the suspects of a run as CSV and return how many they are.

    The columns are `path`, `label`, the class that it `sounds_like`, and the probabilities `p_sounds_like` and
    `p_label`. Raises a UserError if `out` exists, or the run has no predictions that can be read.
    """
    folder, out = as_path(run, "run"), as_path(out, "out")
    class_names = read_record(folder).class_names
    tested = read_predictions(folder, class_names)
    clips, mean = find_suspects(tested), tested.mean
    refuse_existing(out, "--out")
    with replacing(out) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        file.write(csv_line(("path", "label", "sounds_like", "p_sounds_like", "p_label")))
        for clip in clips.tolist():
            label, other = tested.labels[clip], mean[clip].argmax()
            probabilities = (f"{mean[clip, which]:.6f}" for which in (other, label))
            file.write(csv_line((tested.paths[clip], class_names[label], class_names[other], *probabilities)))
    return len(clips)


def verdict(other: str, p_other: float, label: str, p_label: float) -> str:
    """Say what a suspect sounds like, as strongly as its probabilities do."""
    there, here = human_percent(p_other), human_percent(p_label)
    if p_other >= _CLEAR and p_label <= _RULED_OUT:
        return f"the clip clearly sounds like {other} ({there}), not like {label} ({here})"
    return f"the clip sounds more like {other} ({there}) than like {label} ({here})"


def note_on_windows(n: int) -> str:
    """Say which of a clip's windows the picture shows, and which the probabilities are of; "" if it has one."""
    return f"The picture shows the first of its {n} windows; the probabilities are the mean of all." if n > 1 else ""


def clip_cards(folder: Path, record: Record, tested: Predictions, cache: Cache | None, data: Path) -> Cards:
    """Describe the worst mistakes and the least certain of the other clips for `templates/report.html`.

    Without the cache there are no pictures. `folder` is that of the page, and `data` that of the clips.
    """
    (wrong, right), suspects = mistakes_and_others(tested), find_suspects(tested)
    clips = [*wrong[:MAX_MISTAKES].tolist(), *right[:MAX_UNCERTAIN].tolist()]
    paths, names = [tested.paths[clip] for clip in clips], record.class_names
    mean, n_tests = tested.mean, tested.n_tests
    rows, n_windows, sha256 = dict[str, int](), dict[str, int](), dict[str, str]()
    if cache is not None:
        rows = dict(zip(cache.clip_paths, cache.first_rows.tolist(), strict=True))
        n_windows = dict(zip(rows, np.bincount(cache.clips).tolist(), strict=True))
        sha256 = dict(zip(rows, cache.clip_sha256, strict=True))
    elif (folder / "split.csv").exists():
        sha256 = {clip.path: clip.sha256 for clip in read_split(folder)}
    found = players(data, folder, [(path, sha256.get(path)) for path in paths])
    conflicts = cache.conflicts if cache is not None else []
    also = {path: [other for other in equal if other != path] for equal in conflicts for path in equal}
    n_wrong = np.bincount(tested.clip[~tested.correct], minlength=len(tested.paths))
    cards = []
    for clip, path, player in zip(clips, paths, found, strict=True):
        true, predicted, p = int(tested.labels[clip]), int(mean[clip].argmax()), mean[clip].tolist()
        notes = [f"Its content is also {' = '.join(also[path])}, of another class."] if path in also else []
        if clip in suspects:
            said = verdict(names[predicted], p[predicted], names[true], p[true])
            notes.append(f"Suspect: the label may be wrong, for {said}.")
        if n_tests[clip] > 1:
            notes.append(f"Wrong in {n_wrong[clip]} of {n_tests[clip]} tests.")
        notes += filter(None, [note_on_windows(n_windows.get(path, 1))])
        shares, picture = _probabilities(mean[clip], true, predicted, names), _picture(cache, rows.get(path))
        cards.append(Card(path, names[true], names[predicted], shares, notes, player, picture))
    n_shown = min(len(wrong), MAX_MISTAKES)
    mistakes, uncertain = Shown(len(wrong), cards[:n_shown]), Shown(len(right), cards[n_shown:])
    return Cards(len(tested.paths), len(suspects), mistakes, uncertain)


def _probabilities(
    mean: npt.NDArray[np.float64], true: int, predicted: int, class_names: Sequence[str]
) -> list[Probability]:
    labels = np.argsort(-mean, kind="stable")[:MAX_PROBABILITIES].tolist()
    if true not in labels:
        labels[-1] = true
    kinds = {predicted: "wrong", true: "true"}
    return [Probability(class_names[i], float(mean[i]), kinds.get(i, "other")) for i in labels]


def _picture(cache: Cache | None, row: int | None) -> Picture | None:
    """Return the spectrogram of a row without its padding, and where in the clip it starts and ends."""
    if cache is None or row is None:
        return None
    n = int(cache.columns["n_frames"][row])
    return picture_of(np.asarray(cache.X[row, :, :n, 0], np.float32), *seconds_shown(cache, row))
