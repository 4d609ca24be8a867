"""clip_cards(): single clips on a page: picture, classes, probabilities, player."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cache import Cache
from train.dataset.rows import seconds_shown
from train.report.figures import spectrogram_png
from train.report.mistakes import note_on_windows, verdict
from train.report.players import Player, players
from train.runs.tables import Predictions

# Probabilities shown of a clip: the highest ones, and always that of the true class.
MAX_PROBABILITIES = 4


class Probability(NamedTuple):
    """One bar of a card; its kind is "true", "wrong" (the predicted class) or "other"."""

    name: str
    p: float
    kind: str


class Picture(NamedTuple):
    """A spectrogram as a data URI, and where in the clip it starts and ends."""

    source: str
    starts: str
    ends: str


class Card(NamedTuple):
    """One clip; without its cache it has no picture."""

    path: str
    true: str
    predicted: str
    probabilities: list[Probability]
    notes: list[str]
    player: Player
    picture: Picture | None


class Originals(NamedTuple):
    """DATA, the folder of the page, and the sha256 of clips that are not in the cache, by path."""

    data: Path
    page_folder: Path
    sha256: Mapping[str, str]


def clip_cards(
    tested: Predictions,
    clips: Sequence[int],
    class_names: Sequence[str],
    cache: Cache | None,
    originals: Originals,
    conflicts: Sequence[Sequence[str]],
    suspects: npt.NDArray[np.intp],
) -> list[Card]:
    """Describe clips of the test for `templates/report.html`, by their indices; without a cache there are no pictures.

    The conflicts are the paths of clips with equal content in two classes, and the suspects those whose label is in
    doubt.
    """
    paths, sha256 = [tested.paths[clip] for clip in clips], originals.sha256
    rows = {} if cache is None else _rows(cache, paths)
    if cache is not None:
        sha256 = {**sha256, **{path: cache.columns["sha256"][row].decode() for path, row in rows.items()}}
    found = players(originals.data, originals.page_folder, [(path, sha256.get(path)) for path in paths])
    also = {path: [other for other in equal if other != path] for equal in conflicts for path in equal}
    mean, n_tests = tested.mean, tested.n_tests
    n_wrong = np.bincount(tested.clip[~tested.correct], minlength=len(tested.paths))
    n_windows = {} if cache is None else dict(zip(cache.clip_paths, np.bincount(cache.clips).tolist(), strict=True))
    cards = []
    for clip, path, player in zip(clips, paths, found, strict=True):
        true, predicted, p = int(tested.labels[clip]), int(mean[clip].argmax()), mean[clip].tolist()
        notes = [f"Its content is also {' = '.join(also[path])}, of another class."] if path in also else []
        if clip in suspects:
            said = verdict(class_names[predicted], p[predicted], class_names[true], p[true])
            notes.append(f"Suspect: the label may be wrong, for {said}.")
        if n_tests[clip] > 1:
            notes.append(f"Wrong in {n_wrong[clip]} of {n_tests[clip]} tests.")
        notes += filter(None, [note_on_windows(n_windows.get(path, 1))])
        cards.append(
            Card(
                path,
                class_names[true],
                class_names[predicted],
                _probabilities(mean[clip], true, predicted, class_names),
                notes,
                player,
                _picture(cache, rows[path]) if cache is not None and path in rows else None,
            )
        )
    return cards


def _rows(cache: Cache, paths: Sequence[str]) -> dict[str, int]:
    wanted = {*paths}
    found = zip(cache.clip_paths, cache.first_rows.tolist(), strict=True)
    return {path: row for path, row in found if path in wanted}


def _probabilities(
    mean: npt.NDArray[np.float64], true: int, predicted: int, class_names: Sequence[str]
) -> list[Probability]:
    labels = np.argsort(-mean, kind="stable")[:MAX_PROBABILITIES].tolist()
    if true not in labels:
        labels[-1] = true
    kinds = {predicted: "wrong", true: "true"}
    return [Probability(class_names[i], float(mean[i]), kinds.get(i, "other")) for i in labels]


def _picture(cache: Cache, row: int) -> Picture:
    """Return the spectrogram of a row without its padding, and where in the clip it starts and ends."""
    n = int(cache.columns["n_frames"][row])
    return picture_of(np.asarray(cache.X[row, :, :n, 0], np.float32), *seconds_shown(cache, row))


def picture_of(x: npt.NDArray[np.floating], start: float, end: float) -> Picture:
    """Return a spectrogram in [0, 1], shape (n_mels, n_frames), that lasts from start to end in seconds."""
    source = f"data:image/png;base64,{base64.b64encode(spectrogram_png(x)).decode()}"
    return Picture(source, f"{start:.2f} s", f"{end:.2f} s")
