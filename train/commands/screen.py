"""Screens that the commands end with: scores, tables and verdicts as plain text, 80 columns wide."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cache.shared.text import aligned, human_count, human_interval, human_percent, human_seconds, human_size, printable
from train.runs.record import Record
from train.runs.results import LeakProbe, Score
from train.score.metrics import confusions, few_groups

if TYPE_CHECKING:
    from train.exporters.export import Export
    from train.recordings.evaluate import RecordingsScore
    from train.recordings.score import Measure
    from train.score.evaluate import Evaluation

_MAX_NAME = 20


def run_summary(folder: Path, record: Record) -> str:
    """Return the summary of a finished fit or cross-validation."""
    lines, title = _of_fit(record) if record.command == "fit" else _of_crossval(record)
    if record.metrics is None:
        lines.append("no test clips (--test 0), so there is no score")
    else:
        lines += ["", *score_lines(record.metrics, title, record.sanity, record.leak_probe)]
    return "\n".join([*lines, "", f"{printable(str(folder))}  ({human_seconds(record.seconds)})"])


def _of_fit(record: Record) -> tuple[list[str], str]:
    """Return the lines above the score of a fit, and its title."""
    split, validation = record.split, record.validation_accuracy
    sizes = (f"{one.n} {name} ({human_count(one.n_groups, 'group')})" for name, one in split.items() if one.n)
    if validation is None:
        kept = f"kept the last of {human_count(record.n_epochs, 'epoch')}; with no validation clips, its probabilities"
        kept += " are not calibrated"
    else:
        kept = f"kept epoch {record.best_epoch} of {record.n_epochs}, the best on the validation clips: "
        kept += human_percent(validation)
    lines = [
        f"{record.model}, {record.n_parameters:,} parameters, on {_shown(record.cache.file)}",
        "clips: " + ", ".join(sizes),
        kept,
    ]
    return lines, f"test: {human_count(split['test'].n, 'clip')} never trained on"


def _of_crossval(record: Record) -> tuple[list[str], str]:
    """Return the lines above the score of a cross-validation, and its title."""
    n_clips, n_groups = human_count(record.cache.n_clips, "clip"), human_count(record.n_groups, "group")
    lines = [
        f"{record.model} on {_shown(record.cache.file)}: {n_clips} in {n_groups}",
        "",
        "  repeat  fold  train    val   test  accuracy  epoch      time",
    ]
    for fold in record.folds:
        lines.append(
            f"  {fold.repeat:6d}  {fold.fold:4d}  {fold.n_train:5d}  {fold.n_val:5d}  {fold.n_test:5d}"
            f"   {_percent(fold.accuracy)}  {fold.best_epoch:5d}  {human_seconds(fold.seconds):>8}"
        )
    often = "once" if record.n_repeats == 1 else f"{record.n_repeats} times"
    return lines, f"every clip tested {often}, by a network that never saw its group"


def evaluate_summary(result: "Evaluation") -> str:
    """Return the summary of evaluate()."""
    score = result.score
    clips = human_count(score.n, "clip")
    lines = score_lines(score, f"{printable(result.run)} on {printable(result.cache)}: {result.scored}, {clips}")
    lines.insert(3, f"  calibration     {_percent(result.calibration_error)}  (expected error of a probability)")
    alone = score.n_groups == score.n > 1
    return "\n".join([*lines, *["", "every clip counted as a group of its own"] * alone])


def recordings_summary(result: "RecordingsScore") -> str:
    """Return the summary of evaluate_recordings(), each figure over its 95 % interval."""
    n, length = human_count(result.n_recordings, "recording"), human_seconds(3600 * result.hours)
    lines = [f"{printable(result.run)} on {n}, {length}, {human_count(result.n_labels, 'label')}"]
    for name in ("events", "windows"):
        rows = [[f"over {name}", "precision", "recall", "F1", "AP", *["alarms/h"] * (name == "events")]]
        for class_name, one in result.per_class.items():
            level = one.events if name == "events" else one.windows
            shares = (level.precision, level.recall, level.f1, level.average_precision)
            cells = [_with_interval(share, _share, " %") for share in shares]
            cells += [_with_interval(one.false_alarms_per_hour, _rate)] * (name == "events")
            rows.append([_short(class_name), *(value for value, _ in cells)])
            if result.n_recordings > 1:
                rows.append(["  95 % interval", *(ends for _, ends in cells)])
        lines += ["", *_indented(rows)]
    lines += ["", f"at the thresholds {_thresholds({name: one.threshold for name, one in result.per_class.items()})}"]
    if result.kept_thresholds is not None:
        lines.append(f"kept for `predict --threshold auto`: {_thresholds(result.kept_thresholds)}")
    if result.n_recordings == 1:
        lines.append("a single recording has no intervals")
    return "\n".join(lines)


def _with_interval(measure: "Measure", shown: Callable[[float], str], unit: str = "") -> tuple[str, str]:
    """Return the cell of a measure, and that of its interval below."""
    return (
        "none" if measure.value is None else f"{shown(measure.value)}{unit}",
        "-".join(map(shown, measure.interval)) if measure.interval else "",
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _thresholds(of: Mapping[str, float]) -> str:
    return ", ".join(f"{_short(name)} {threshold:.3f}" for name, threshold in of.items())


def score_lines(
    score: Score,
    title: str,
    sanity: Mapping[str, Score] | None = None,
    probe: LeakProbe | None = None,
) -> list[str]:
    """Return a score beside its sanity baselines, its table of classes and its confusion matrix, under a title."""
    names = [_short(name) for name in score.per_class]
    lines = [
        title,
        f"  accuracy        {_percent(score.accuracy)}  (95 % interval {human_interval(score.interval)})",
        f"  macro-F1        {_percent(score.macro_f1)}",
    ]
    if few := few_groups(score):
        lines.append(f"  {few}")
    for name, baseline in (sanity or {}).items():
        lines.append(f"  {name:<16}{_percent(baseline.accuracy)}")
    if probe:
        lines.append(f"  without sound   {_percent(probe.accuracy)}  (from duration, sample rate and file format)")
    table = [["class", "precision", "recall", "F1", "clips"]]
    for name, one in zip(names, score.per_class.values(), strict=True):
        table.append([name, *map(_percent, (one.precision, one.recall, one.f1)), str(one.n)])
    return [*lines, "", *_indented(table), "", *confusion_lines(score.confusion, names)]


def confusion_lines(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[str]:
    """Return a confusion matrix as lines; past a screen's width, its largest errors instead."""
    width = max(5, *map(len, names))
    table = [["true \\ predicted", *(name.rjust(width) for name in names)]]
    table += [[name, *map(str, row)] for name, row in zip(names, confusion, strict=True)]
    lines = _indented(table)
    if len(lines[0]) <= 80:
        return lines
    worst = confusions(confusion, names)[:10]
    return ["  most frequent confusions", *(f"  {one.n:5d}  {one.true} taken for {one.predicted}" for one in worst)]


def export_summary(result: "Export") -> str:
    """Return what was exported, and how far it is from the original."""
    lines = [
        f"{_shown(result.file)}: {human_size(result.n_bytes)}, from the {result.input} to the probabilities",
        f"checked on {human_count(result.n_checked, 'clip')} of {_shown(result.cache)} in {result.runtime}",
        *(f"largest difference of the {name}: {value:.1e}" for name, value in result.largest_difference.items()),
    ]
    return "\n".join(lines)


def _indented(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose first column has names."""
    return [f"  {line}" for line in aligned(table, to_left={0})]


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 2] + ".."


def _shown(file: str) -> str:
    path = Path(file)
    return printable(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _percent(share: float) -> str:
    return f"{human_percent(share):>7}"
