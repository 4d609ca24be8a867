"""Rows of a run that are worth a look: mistakes, doubtful labels, and the least certain of the others."""

from pathlib import Path

import numpy as np

from cache.shared.files import as_path, refuse_existing, replacing
from cache.shared.text import csv_line, human_percent
from cache.shared.types import Rows
from train.runs.record import read_record
from train.runs.tables import Predictions, read_predictions

# A clip "clearly" sounds like a class that is this probable, while its label is this improbable.
_CLEAR, _RULED_OUT = 0.9, 0.05


def worst_mistakes(tested: Predictions) -> Rows:
    """Return the clips whose mean probability is highest for a wrong class, the least probable true class first."""
    return _by_true_probability(tested, right=False)


def least_certain(tested: Predictions) -> Rows:
    """Return the other clips, the least probable true class first."""
    return _by_true_probability(tested, right=True)


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


def verdict(other: str, p_other: float, label: str, p_label: float) -> str:
    """Say what a suspect sounds like, as strongly as its probabilities do."""
    there, here = human_percent(p_other), human_percent(p_label)
    if p_other >= _CLEAR and p_label <= _RULED_OUT:
        return f"the clip clearly sounds like {other} ({there}), not like {label} ({here})"
    return f"the clip sounds more like {other} ({there}) than like {label} ({here})"


def note_on_windows(n: int) -> str:
    """Say how the picture of a clip with so many windows stands to its probabilities; "" if it has one."""
    return f"The picture shows the first of its {n} windows; the probabilities are the mean of all." if n > 1 else ""


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


def _by_true_probability(tested: Predictions, right: bool) -> Rows:
    mean = tested.mean
    clips = np.flatnonzero((mean.argmax(axis=1) == tested.labels) == right)
    return clips[np.argsort(mean[clips, tested.labels[clips]], kind="stable")]
