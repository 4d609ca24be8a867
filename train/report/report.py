"""write_report(): a run as one page to look at and to listen to, beside its figures."""

from pathlib import Path
from typing import TYPE_CHECKING

from cache import Cache, open_cache
from cache.shared.cli import command_line, complain
from cache.shared.errors import CacheError, Interrupted, UserError, reason_in
from cache.shared.files import as_path
from train.models.calibration import calibrated
from train.report import figures, sections
from train.report.mistakes import clip_cards
from train.report.page import render, save
from train.runs.directory import data_folder
from train.runs.record import FINISHED, Record, read_record
from train.runs.tables import Predictions, read_history, read_predictions
from train.score.compare import what_changed
from train.score.metrics import Calibration, calibration, confusions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The most confusions that a page shows.
MAX_CONFUSIONS = 8

# The headings of the sections by their ids, in their order, and those that a run without a test does not have.
_SECTIONS = {
    "score": "Score",
    "classes": "Classes",
    "curves": "Learning curves",
    "calibration": "Calibration",
    "mistakes": "Mistakes",
    "uncertain": "Correct, but least certain",
    "data": "Data",
    "settings": "Settings and versions",
}
_OF_A_TEST = frozenset({"classes", "calibration", "mistakes", "uncertain"})


def write_report(folder: str | Path, cache_file: str | Path | None = None, data: str | Path | None = None) -> Path:
    """Write `report.html` and the PNGs in `figures` of a finished run, and return the page.

    Spectrograms, rejected files, duplicates and label conflicts come from the cache that the run was trained on; if
    that is gone or has changed, the page says so instead. Where that cache and the folder of its clips are now is
    looked for unless it is given. Raises a UserError if the directory is not a finished run, or is damaged, or
    `cache_file` is not its cache.
    """
    folder = as_path(folder, "run")
    record = read_record(folder)
    if record.state != FINISHED:
        raise UserError(f"{folder} is not finished, so there is nothing to report yet")
    with figures.drawing():
        moved = (None if path is None else as_path(path, "cache_file or data") for path in (cache_file, data))
        page, pictures = _compose(folder, record, *moved)
    return save(folder / "report.html", page, pictures)


def report_finished(folder: Path) -> Path | None:
    """Write the report of a run that has just finished; if that fails, warn and return None, for the run is whole."""
    later = f"`{command_line('train', 'report', folder)}`"
    try:
        return write_report(folder)
    except Interrupted as stop:
        stop.kept = f"the run is finished and kept; write its report with {later}"
        raise
    except Exception as error:  # of any kind: it must not look as if the run had failed
        complain(
            f"warning: the report could not be written ({reason_in(error)}); the run is whole, write it with {later}"
        )
        return None


def _compose(folder: Path, record: Record, cache_file: Path | None, data: Path | None) -> tuple[str, dict[str, bytes]]:
    """Return the page, and the PNG of each of its figures by name."""
    cache, missing = _cache_of(record, cache_file)
    if cache is None and cache_file is not None:
        raise UserError(f"{missing}; give the cache that {folder} was trained on")
    was = Path(record.cache.file)
    if data is None:
        data = was.parent.resolve() / record.cache.data_dir if cache is None else data_folder(cache, was)
    curves, metrics = _curves(folder), record.metrics
    found, absent = None, _OF_A_TEST
    report: dict[str, object] = {
        **sections.head(folder, record)._asdict(),
        "metrics": metrics,
        "folds": sections.capped(record.folds),
        "n_curves": figures.MAX_CURVES,
        "data": sections.clips(record),
        "probe": sections.probe(record.leak_probe),
        "missing": missing,
        "n_corrected": 0,
        "changed": None,
        "settings": sections.settings(record),
    }
    if cache is not None:
        report |= {
            "n_corrected": cache.n_corrected,
            "changed": what_changed(folder, record, cache) if metrics is not None else None,
            "rejected": sections.capped(cache.rejections),
            "conflicts": sections.capped(cache.conflicts),
            "duplicates": sections.capped(cache.duplicates),
        }
    if metrics is not None:
        tested = read_predictions(folder, record.class_names)
        cards = clip_cards(folder, record, tested, cache, data)
        found = calibration(tested.probabilities.max(axis=1), tested.correct, tested.clip)
        confused = confusions(metrics.confusion, metrics.per_class)
        report |= {
            "tested": sections.tested(record, metrics),
            "scores": sections.scores(record, metrics),
            "classes": sections.classes(metrics),
            "confusions": sections.Shown(len(confused), confused[:MAX_CONFUSIONS]),
            "n_confused": sum(one.n for one in confused),
            "counted": "tests" if len(tested.clip) > len(tested.paths) else "clips",
            "calibration": found,
            "error_before": _error_before(record, tested),
            "temperature": sections.temperature(record),
            "thresholds": record.thresholds,
            "thresholds_of": record.thresholds_of,
            "range": " to ".join(f"{float(record.settings[name]) / 1000:g}" for name in ("fmin", "fmax")) + " kHz",
            **cards._asdict(),
        }
        absent = frozenset() if cards.uncertain.n else frozenset({"uncertain"})
    report["sections"] = {id: name for id, name in _SECTIONS.items() if id not in absent}
    drawn = _draw(record, curves, found, str(report.get("counted")))
    report["figures"] = {name: figures.as_picture(figure) for name, figure in drawn.items()}
    return render(report), {name: figures.as_png(figure) for name, figure in drawn.items()}


def _cache_of(record: Record, cache_file: Path | None) -> tuple[Cache | None, str]:
    """Return the cache that the run was trained on, or why it is not there."""
    file = cache_file or Path(record.cache.file)
    try:
        cache = open_cache(file)
    except CacheError as error:
        return None, str(error)
    if cache.fingerprint != record.cache.fingerprint:
        return None, f"{file} has changed since the run was trained on it"
    return cache, ""


def _curves(folder: Path) -> list[dict[str, list[float]]]:
    """Read `history.csv`: the columns of the fit, or of every fold."""
    if not (folder / "history.csv").exists():
        return []
    curves: dict[tuple[float, float], dict[str, list[float]]] = {}
    for row in read_history(folder):
        curve = curves.setdefault((row.pop("repeat", 0), row.pop("fold", 0)), {})
        for name, value in row.items():
            curve.setdefault(name, []).append(value)
    return list(curves.values())


def _error_before(record: Record, tested: Predictions) -> float | None:
    """Return the expected calibration error of the probabilities as the network gave them."""
    if record.temperature is None:
        return None
    before = calibrated(tested.probabilities, 1 / record.temperature)
    return calibration(before.max(axis=1), tested.correct, tested.clip).error


def _draw(record: Record, curves: figures.Curves, calibrated: Calibration | None, counted: str) -> "dict[str, Figure]":
    drawn = {}
    if curves:
        best = record.best_epoch if len(curves) == 1 else None
        drawn = {measure: figures.curves_figure(curves, measure, best) for measure in ("accuracy", "loss")}
    if calibrated is not None and record.metrics is not None:
        if len(record.class_names) <= figures.MAX_CLASSES_DRAWN:
            drawn["confusion"] = figures.confusion_figure(record.metrics.confusion, record.class_names)
        drawn["calibration"] = figures.calibration_figure(calibrated.bins, counted)
    return drawn
