"""write_report(): a run as one page to look at and to listen to, beside its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache import Cache, open_cache
from cache.file.layout import CacheError
from cache.shared.cli import complain
from cache.shared.errors import Interrupted, UserError
from cache.shared.files import own_folder, replacing
from train.models.temperature import calibrated
from train.report import figures, sections
from train.report.cards import clip_cards
from train.report.mistakes import Tested, least_certain, suspects, tested_clips, worst_mistakes
from train.report.page import render
from train.runs.load import data_folder
from train.runs.record import FINISHED, read_record
from train.runs.tables import read_history, read_split
from train.score.metrics import calibration

# What a page shows at most, so that it stays a page.
MAX_MISTAKES = 30
MAX_UNCERTAIN = 9

# A confusion matrix of more classes takes the whole width of the page.
WIDE_FROM = 8

# The headings of the sections by their ids, and those that a run without a test has.
_SECTIONS = {
    "score": "Score",
    "classes": "Classes",
    "curves": "Learning curves",
    "calibration": "Calibration",
    "mistakes": "Mistakes",
    "uncertain": "Right, but least certain",
    "data": "Data",
    "settings": "Settings and versions",
}
_UNSCORED = ("score", "curves", "data", "settings")

Record = Mapping[str, Any]
Curves = list[dict[str, list[float]]]


def write_report(folder: Path, cache_file: Path | None = None, data: Path | None = None) -> Path:
    """Write `report.html` and the PNGs in `figures` of a finished run.

    Of the cache that the run was trained on it takes spectrograms, rejected files, duplicates and label conflicts;
    where that is gone or has changed, the page says so instead.

    Parameters
    ----------
    folder
        A run directory that `fit` or `crossval` made.
    cache_file
        Where the cache is now; None: where it was.
    data
        Where its clips are now; None: where the cache says.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UserError
        The directory is missing, is no run, is not finished or is damaged, or `cache_file` is not its cache.
    """
    from jinja2 import TemplateError

    record = read_record(folder).as_dict()
    if record["state"] != FINISHED:
        raise UserError(f"{folder} is not finished, so there is nothing to report yet")
    try:
        with figures.drawing():
            page, pictures = _compose(folder, record, cache_file, data)
    except (TemplateError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{folder} is damaged, or a run of another version ({what}); train again") from error
    drawn = own_folder(folder / "figures")
    files = {drawn / f"{name}.png": picture for name, picture in pictures.items()}
    for file, content in {**files, folder / "report.html": page.encode()}.items():
        with replacing(file) as beside:
            beside.write_bytes(content)
    return folder / "report.html"


def report_finished(folder: Path) -> Path | None:
    """Write the report of a run that has just finished: whatever happens to it, the run is whole.

    Returns
    -------
    Path or None
        The page; None when it could not be written, which is a warning.
    """
    later = f"`python -m train report {folder}`"
    try:
        return write_report(folder)
    except Interrupted as stop:
        stop.kept = f"the run is finished and kept; write its report with {later}"
        raise
    except Exception as error:  # of whatever kind: it must not look as if the run had failed
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        complain(f"warning: the report could not be written ({reason}); the run is whole, write it with {later}")
        return None


def _compose(folder: Path, record: Record, cache_file: Path | None, data: Path | None) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the PNG of each of its figures by name."""
    cache, missing = _cache_of(record, cache_file)
    if cache is None and cache_file is not None:
        raise UserError(f"{missing}; give the cache that {folder} was trained on")
    was = Path(record["cache"]["file"])
    if data is None:
        data = was.parent.resolve() / record["cache"]["data_dir"] if cache is None else data_folder(cache, was)
    curves = _curves(folder)
    report: dict[str, Any] = {
        **sections.head(folder, record),
        "metrics": record["metrics"],
        "folds": {**sections.folds(record), "n_drawn": figures.MAX_CURVES} if "folds" in record else {},
        "data": sections.data(record, cache, missing),
        "settings": sections.settings(record),
        "wide_from": WIDE_FROM,
        "sections": {id: _SECTIONS[id] for id in _UNSCORED},
    }
    if record["metrics"]:
        tested = tested_clips(folder, tuple(record["class_names"]))
        conflicts = report["data"]["conflicts"]["all"] if cache is not None else []
        report |= {
            "tested": sections.tested(record),
            "temperature": sections.temperature(record),
            "scores": sections.scores(record),
            "classes": sections.classes(record),
            "confusions": sections.confusions(record),
            "calibration": _calibration(record, tested),
            **_clips(folder, record, tested, cache, data, conflicts),
        }
        absent = () if report["uncertain"]["n"] else ("uncertain",)
        report["sections"] = {id: name for id, name in _SECTIONS.items() if id not in absent}
    drawn = _draw(record, curves, report.get("calibration"))
    report["figures"] = {name: figures.as_picture(figure) for name, figure in drawn.items()}
    return render(report), {name: figures.as_png(figure) for name, figure in drawn.items()}


def _cache_of(record: Record, cache_file: Path | None) -> tuple[Cache | None, str]:
    """Return the cache that the run was trained on, or why it is not there."""
    file = cache_file or Path(record["cache"]["file"])
    try:
        cache = open_cache(file)
    except CacheError as error:
        return None, str(error)
    if cache.fingerprint != record["cache"]["fingerprint"]:
        return None, f"{file} has changed since the run was trained on it"
    return cache, ""


def _curves(folder: Path) -> Curves:
    """Read `history.csv`: the columns of the fit, or of every fold."""
    if not (folder / "history.csv").exists():  # in a cross-validation of an earlier version
        return []
    curves: dict[tuple[float, float], dict[str, list[float]]] = {}
    for row in read_history(folder):
        curve = curves.setdefault((row.pop("repeat", 0), row.pop("fold", 0)), {})
        for name, value in row.items():
            curve.setdefault(name, []).append(value)
    return list(curves.values())


def _calibration(record: Record, tested: Tested) -> dict[str, Any]:
    predicted = tested.probabilities.argmax(axis=1)
    correct = predicted == tested.labels[tested.clip]
    counted = "tests" if len(correct) > len(tested.paths) else "clips"
    found = {"counted": counted, **calibration(tested.probabilities.max(axis=1), correct, tested.clip)}
    if record.get("temperature") is not None:
        before = calibrated(tested.probabilities, 1 / record["temperature"])
        found["error_before"] = calibration(before.max(axis=1), correct, tested.clip)["error"]
    return found


def _clips(
    folder: Path,
    record: Record,
    tested: Tested,
    cache: Cache | None,
    data: Path,
    conflicts: Sequence[Sequence[str]],
) -> dict[str, Any]:
    wrong, right, doubted = worst_mistakes(tested), least_certain(tested), suspects(tested)
    shown = [*wrong[:MAX_MISTAKES].tolist(), *right[:MAX_UNCERTAIN].tolist()]
    originals = (data, folder, {} if cache is not None else _contents(folder))
    cards = clip_cards(tested, shown, record["class_names"], cache, originals, conflicts, doubted)
    n_shown = min(len(wrong), MAX_MISTAKES)
    return {
        "fmax": f"{float(record['settings']['fmax']) / 1000:g} kHz",
        "n_tested": len(tested.paths),
        "n_suspects": len(doubted),
        "mistakes": {"n": len(wrong), "clips": cards[:n_shown]},
        "uncertain": {"n": len(right), "clips": cards[n_shown:]},
    }


def _contents(folder: Path) -> dict[str, str]:
    """Return the sha256 of every clip's content by its path, as the run directory of a fit has it."""
    return {clip.path: clip.sha256 for clip in read_split(folder)} if (folder / "split.csv").exists() else {}


def _draw(record: Record, curves: Curves, calibrated: Mapping[str, Any] | None) -> dict[str, Any]:
    drawn = {}
    if curves:
        best = record["best_epoch"] if len(curves) == 1 else None
        drawn = {measure: figures.curves_figure(curves, measure, best) for measure in ("accuracy", "loss")}
    if calibrated is not None:
        if len(record["class_names"]) <= figures.MAX_CLASSES_DRAWN:
            drawn["confusion"] = figures.confusion_figure(record["metrics"]["confusion"], record["class_names"])
        drawn["calibration"] = figures.calibration_figure(calibrated["bins"], calibrated["counted"])
    return drawn
