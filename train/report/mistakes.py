"""tested_clips(): what a run made of each clip that it tested, and which of them are worth a look."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache.shared.errors import UserError
from cache.shared.files import replacing
from train.runs.tables import read_predictions


class Tested(NamedTuple):
    """A run's tests, a row each, and its clips, an index each; a cross-validation may test a clip several times.

    Attributes
    ----------
    paths
        Of every clip, relative to DATA.
    labels
        True label index of every clip, shape (n_clips,).
    clip
        Index of the clip of every test, shape (n_tests,).
    probabilities
        Of every test, shape (n_tests, n_classes).
    """

    paths: list[str]
    labels: npt.NDArray[np.intp]
    clip: npt.NDArray[np.intp]
    probabilities: npt.NDArray[np.float64]

    @property
    def mean_probabilities(self) -> npt.NDArray[np.float64]:
        """Each clip's mean over its tests, shape (n_clips, n_classes)."""
        total = np.zeros((len(self.paths), self.probabilities.shape[1]))
        np.add.at(total, self.clip, self.probabilities)
        return total / np.bincount(self.clip, minlength=len(self.paths))[:, None]


def tested_clips(folder: Path, class_names: tuple[str, ...]) -> Tested:
    """Read `predictions.csv` of a run directory.

    Raises
    ------
    UserError
        It is missing, damaged or empty.
    """
    file = folder / "predictions.csv"
    rows = read_predictions(folder)
    label_of = {name: label for label, name in enumerate(class_names)}
    numbers: dict[str, int] = {}
    try:
        clip = np.array([numbers.setdefault(row.path, len(numbers)) for row in rows], np.intp)
        labels = np.array([label_of[row.label] for row in rows], np.intp)
        probabilities = np.array([[row.probabilities[name] for name in class_names] for row in rows])
    except KeyError as error:
        raise UserError(f"{file} is damaged ({error} is missing or wrong); train again") from None
    if not rows or not np.isfinite(probabilities).all():
        raise UserError(f"{file} is damaged: it has no predictions, or such as are no numbers; train again")
    _, first = np.unique(clip, return_index=True)
    return Tested(list(numbers), labels[first], clip, probabilities)


def worst_mistakes(tested: Tested) -> npt.NDArray[np.intp]:
    """Return the clips whose mean probability is highest for a wrong class, the least probable true class first."""
    return _by_true_probability(tested, right=False)


def least_certain(tested: Tested) -> npt.NDArray[np.intp]:
    """Return the other clips, the least probable true class first."""
    return _by_true_probability(tested, right=True)


def suspects(tested: Tested) -> npt.NDArray[np.intp]:
    """Return the clips whose label the model disputes with confidence, the most confident first.

    Confident learning (C. Northcutt et al., JAIR 2021): a class is confidently heard in a clip if its probability is at
    least the mean one among the clips with its label. Clips are suspect that are off the diagonal of the confident
    joint: of the classes that are confidently heard, the most probable is not the label, nor is the label the most
    probable of all. They come by the margin, the label's probability under that of the other class.
    """
    mean, n_classes = tested.mean_probabilities, tested.probabilities.shape[1]
    own = [mean[tested.labels == label, label] for label in range(n_classes)]
    thresholds = np.array([p.mean() if len(p) else np.inf for p in own])
    heard = np.where(mean >= thresholds, mean, 0.0).argmax(axis=1)
    is_heard = (mean >= thresholds).any(axis=1)
    clips = np.flatnonzero(is_heard & (heard != tested.labels) & (mean.argmax(axis=1) != tested.labels))
    margins = mean[clips, tested.labels[clips]] - mean[clips].max(axis=1)
    return clips[np.argsort(margins, kind="stable")]


def write_suspects(folder: Path, class_names: tuple[str, ...], out: Path) -> int:
    """Write the suspects() of a run as CSV and return how many they are.

    The columns are `path`, `label`, what it `sounds_like` and the probabilities `p_sounds_like` and `p_label`.

    Raises
    ------
    UserError
        `out` exists, or the run has no predictions that can be read.
    """
    tested = tested_clips(folder, class_names)
    clips, mean = suspects(tested), tested.mean_probabilities
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} exists already; give another --out, or delete it first")
    with replacing(out) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "sounds_like", "p_sounds_like", "p_label"))
        for clip in clips.tolist():
            label, other = tested.labels[clip], mean[clip].argmax()
            probabilities = (f"{mean[clip, which]:.6f}" for which in (other, label))
            writer.writerow((tested.paths[clip], class_names[label], class_names[other], *probabilities))
    return len(clips)


def _by_true_probability(tested: Tested, right: bool) -> npt.NDArray[np.intp]:
    mean = tested.mean_probabilities
    clips = np.flatnonzero((mean.argmax(axis=1) == tested.labels) == right)
    return clips[np.argsort(mean[clips, tested.labels[clips]], kind="stable")]
