"""write_page(): what evaluate_recordings() found as a page to look at, with the worst errors to listen to."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.shared.files import own_folder, replacing
from cache.shared.segment import Segment
from train.predict.rows import clock
from train.recordings.score import LEVELS
from train.report.figures import as_picture, as_png, drawing, thresholds_figure
from train.report.page import render
from train.report.players import players

# What a page shows at most, so that it stays a page.
MAX_PLAYED = 15
MAX_CLASSES = 30
# Seconds that are played of an error at most, and those around it.
_LONGEST, _AROUND = 10.0, 0.5

_SECTIONS = {
    "events": "Events",
    "windows": "Windows",
    "thresholds": "Thresholds",
    "false_alarms": "False alarms",
    "misses": "Misses",
}


def write_page(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write `recordings.html` into a run directory, and its figure into `figures`."""
    shown = dict(list(result["per_class"].items())[:MAX_CLASSES])
    with drawing():
        figure = thresholds_figure(shown)
        picture, png = as_picture(figure), as_png(figure)
    rows = [
        (name, at, [[one["curve"][level][measure][i] for measure in ("precision", "recall")] for level in LEVELS])
        for name, one in shown.items()
        for i, at in enumerate(one["curve"]["threshold"])
        if round(at * 10, 9) in range(1, 10)
    ]
    lead = f"{result['n_labels']:,} labels in {result['n_recordings']:,} recordings of {result['hours']:.2f} hours"
    page = render(
        {
            **result,
            "title": folder.resolve().name,
            "model": "recordings",
            "kind": "A run on labelled recordings",
            "started": result["recordings"],
            "took": f"{result['hours']:.2f} h",
            "lead": f"{lead}, classified window by window.",
            "sections": _SECTIONS,
            "shown": shown,
            "curve": picture,
            "rows": rows,
            "n_errors": {kind: len(result[kind]) for kind in ("false_alarms", "misses")},
            "cards": {
                kind: _cards(folder, Path(result["recordings"]), result[kind][:MAX_PLAYED])
                for kind in ("false_alarms", "misses")
            },
        },
        "recordings.html",
    )
    figures = own_folder(folder / "figures")
    for file, content in ((figures / "recordings.png", png), (folder / "recordings.html", page.encode())):
        with replacing(file) as beside:
            beside.write_bytes(content)
    return folder / "recordings.html"


def _cards(folder: Path, recordings: Path, errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    home = recordings if recordings.is_dir() else recordings.parent
    segments = [Segment(os.path.relpath(one["recording"], home), *_played(one)).path for one in errors]
    found = players(home, folder, [(segment, None) for segment in segments])
    return [
        {**one, "when": f"{clock(one['start'])} - {clock(one['end'])}", "player": player}
        for one, player in zip(errors, found, strict=True)
    ]


def _played(one: Mapping[str, Any]) -> tuple[float, float]:
    middle, half = (one["start"] + one["end"]) / 2, min(_LONGEST, one["end"] - one["start"]) / 2 + _AROUND
    return max(0.0, middle - half), middle + half
