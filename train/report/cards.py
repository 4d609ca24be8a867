"""clip_cards(): what a page shows of single clips: picture, classes, probabilities, player."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cache import Cache
from train.report.figures import spectrogram_png
from train.report.mistakes import Tested
from train.report.players import players

# Probabilities shown of a clip: the highest ones, and always that of the true class.
MAX_PROBABILITIES = 4


def clip_cards(
    tested: Tested,
    clips: Sequence[int],
    class_names: Sequence[str],
    cache: Cache | None,
    originals: tuple[Path, Path, Mapping[str, str]],
    conflicts: Sequence[Sequence[str]],
    suspects: npt.NDArray[np.intp],
) -> list[dict[str, Any]]:
    """Describe clips for `templates/report.html`.

    Parameters
    ----------
    tested
        What the run made of its clips.
    clips
        Indices of the clips to show.
    class_names
        The position is the label index.
    cache
        Holds their spectrograms; None: there are no pictures.
    originals
        DATA, the folder of the page, and the sha256 of clips' content by path, for those that are not in the cache.
    conflicts
        Paths of clips with equal content in two classes, a list for each content.
    suspects
        Indices of the clips whose label is in doubt.
    """
    data, page_folder, sha256 = originals
    paths = [tested.paths[clip] for clip in clips]
    rows = {} if cache is None else _rows(cache, paths)
    if cache is not None:
        sha256 = {**sha256, **{path: cache.columns["sha256"][row].decode() for path, row in rows.items()}}
    also = {path: [other for other in equal if other != path] for equal in conflicts for path in equal}
    mean = tested.mean_probabilities
    n_tests = np.bincount(tested.clip, minlength=len(tested.paths))
    wrong = tested.probabilities.argmax(axis=1) != tested.labels[tested.clip]
    n_wrong = np.bincount(tested.clip[wrong], minlength=len(tested.paths))
    cards = []
    for clip, path, player in zip(
        clips, paths, players(data, page_folder, ((path, sha256.get(path)) for path in paths)), strict=True
    ):
        true, predicted = int(tested.labels[clip]), int(mean[clip].argmax())
        notes = [f"Its content is also {' = '.join(also[path])}, of another class."] if path in also else []
        if clip in suspects:
            notes.append(f"Suspect: the label may be wrong, for it clearly sounds like {class_names[predicted]}.")
        if n_tests[clip] > 1:
            notes.append(f"Wrong in {n_wrong[clip]} of {n_tests[clip]} tests.")
        cards.append(
            {
                "path": path,
                "true": class_names[true],
                "predicted": class_names[predicted],
                "probabilities": _probabilities(mean[clip], true, predicted, class_names),
                "notes": notes,
                "player": player,
                **(_picture(cache, rows[path]) if cache is not None and path in rows else {"picture": ""}),
            }
        )
    return cards


def _rows(cache: Cache, paths: Sequence[str]) -> dict[str, int]:
    wanted = {path.encode(): path for path in paths}
    return {wanted[path]: row for row, path in enumerate(cache.columns["path"].tolist()) if path in wanted}


def _probabilities(
    mean: npt.NDArray[np.float64], true: int, predicted: int, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    labels = np.argsort(-mean, kind="stable")[:MAX_PROBABILITIES].tolist()
    if true not in labels:
        labels[-1] = true
    kinds = {predicted: "wrong", true: "true"}
    return [{"name": class_names[i], "p": float(mean[i]), "kind": kinds.get(i, "other")} for i in labels]


def _picture(cache: Cache, row: int) -> dict[str, str]:
    """Return a clip's spectrogram without its padding, and where in the clip it starts and ends."""
    n, n_kept = int(cache.columns["n_frames"][row]), cache.X.shape[2]
    first = max(0, (n - n_kept) // 2)  # of a longer clip, the cache holds the middle
    last = first + min(n, n_kept)
    frame = float(cache.settings["hop_length"]) / float(cache.settings["sr"])
    ends = min(last * frame, float(cache.columns["duration"][row]))
    picture = spectrogram_png(np.asarray(cache.X[row, :, : last - first, 0], np.float32))
    return {
        "picture": f"data:image/png;base64,{base64.b64encode(picture).decode()}",
        "starts": f"{first * frame:.2f} s",
        "ends": f"{ends:.2f} s",
    }
