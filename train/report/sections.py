"""The sections of a report: the facts about a run for `templates/report.html`, taken from its record and its cache."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from cache.file.settings import MelSettings
from cache.shared.segment import Crop
from cache.shared.text import human_percent, human_seconds
from train.dataset.splits import SPLITS
from train.runs.record import Record
from train.runs.results import ClassScore, LeakProbe, Score
from train.score.metrics import few_groups

# The most that a table shows, so that the page stays a page.
MAX_ROWS = 100
MAX_CLASSES_NAMED = 6

_WHAT = {
    "majority class": "always the most frequent class",
    "random forest": "on each mel band's mean and deviation",
}
# The models that are kept as the course notebook has them.
NOTEBOOK_MODELS = ("baseline", "dropout")
# The values of options that were not given, in words.
_UNSET = {"learning_rate": "the model's own", "group_by": "by file name"}

Row = TypeVar("Row")
Pairs = list[tuple[str, str]]


class Shown(NamedTuple, Generic[Row]):
    """The rows of a table that are shown, out of `n`."""

    n: int
    shown: Sequence[Row]


class Head(NamedTuple):
    """The lines above the sections: the model, its data, the time, and doubts about the score."""

    title: str
    model: str
    kind: str
    started: str
    took: str
    lead: str
    warnings: list[str]
    hint: str


class Bar(NamedTuple):
    """An accuracy with its interval; its kind is "network" or "baseline"."""

    kind: str
    name: str
    what: str
    score: Score | LeakProbe


class Clips(NamedTuple):
    """The table of clips: the titles of its columns, a row for each class, and the rows below them."""

    columns: list[str]
    classes: Shown[tuple[str, list[int]]]
    totals: list[tuple[str, list[int]]]


def head(folder: Path, record: Record) -> Head:
    """Return what stands above the sections."""
    n_classes = len(record.class_names)
    classes = _listed(record.class_names) if n_classes <= MAX_CLASSES_NAMED else f"{n_classes} classes"
    if record.command == "fit":
        best = f"the best on {_count(record.split['val'].n, 'validation clip')}"
        why = "the last one" if record.validation_accuracy is None else best
        trained = (
            f"{record.n_parameters:,} parameters, trained on {_count(record.split['train'].n, 'clip')} of {classes}"
        )
        lead = f"{trained}; epoch {record.best_epoch} of {record.n_epochs} was kept, {why}."
    else:
        times = "" if record.n_repeats == 1 else f", {record.n_repeats} times with new folds"
        tested = (
            f"{_count(record.cache.n_clips, 'clip')} of {classes} in {_count(record.n_groups, 'independent group')}"
        )
        lead = f"{tested}, cross-validated in {record.n_folds} folds{times}."
    started = datetime.fromisoformat(record.started)
    return Head(
        title=folder.resolve().name,
        model=record.model,
        kind=f"{'Fit' if record.command == 'fit' else 'Cross-validation'} of the model {record.model}",
        started=f"{started.day} {started:%B %Y, %H:%M}",
        took=human_seconds(record.seconds),
        lead=lead,
        warnings=record.warnings,
        hint=hint(record),
    )


def hint(record: Record) -> str:
    """Say what there is instead, if a run has a model of the course notebook."""
    if record.model not in NOTEBOOK_MODELS:
        return ""
    return f"{record.model} is the course notebook's model; --model compact (MODEL=compact) makes fewer mistakes"


def scores(record: Record, metrics: Score) -> list[Bar]:
    """Return the network's accuracy with its interval, then the baselines'."""
    bars = [Bar("network", "this network", "", metrics)]
    bars += [Bar("baseline", name, _WHAT.get(name, ""), score) for name, score in record.sanity.items()]
    if record.leak_probe:
        what = "from duration, sample rate and file format, over all clips"
        bars.append(Bar("baseline", "without sound", what, record.leak_probe))
    return bars


def tested(record: Record, metrics: Score) -> str:
    """Say in a sentence which clips the score was measured on, and in another if they are of few groups."""
    few = f" {said}." if (said := few_groups(metrics)) else ""
    if record.command == "fit":
        return f"Measured on {_count(metrics.n, 'clip')} used neither for training nor for choosing the epoch.{few}"
    times = {1: "once", 2: "twice"}.get(record.n_repeats, f"{record.n_repeats} times")
    return f"Every clip was tested {times}, by a network that never saw its group.{few}"


def temperature(record: Record) -> str:
    """Say how the probabilities were calibrated."""
    if record.command != "fit":
        return "These are the probabilities as the networks give them; only a fit calibrates them."
    n = record.split["val"].n
    if record.temperature is not None:
        on = f"fitted on {_count(n, 'validation clip')}"
        return f"The probabilities were calibrated with a temperature of {record.temperature:.2f}, {on}."
    why = "" if n else ", because there were no validation clips"
    return f"These are the probabilities as the network gives them; they are not calibrated{why}."


def classes(metrics: Score) -> Shown[tuple[str, ClassScore]]:
    """Return the score of each class; of too many, of those with the lowest F1."""
    rows = [*metrics.per_class.items()]
    return capped(rows if len(rows) <= MAX_ROWS else sorted(rows, key=lambda row: row[1].f1))


def clips(record: Record) -> Clips:
    """Return the table of clips by class, and by subset of the split."""
    names = record.class_names
    if record.command == "fit":
        subsets = [record.split[name] for name in SPLITS]
        per_class = [(name, [subset.n_per_class[name] for subset in subsets]) for name in names]
        rows = [(name, [*counts, sum(counts)]) for name, counts in per_class]
        n_groups = [subset.n_groups for subset in subsets]
        totals = [("all clips", [*(subset.n for subset in subsets), record.cache.n_clips])]
        return Clips([*SPLITS, "all"], capped(rows), [*totals, ("groups", [*n_groups, sum(n_groups)])])
    per_class_scores = record.metrics.per_class if record.metrics else {}
    rows = [(name, [score.n // record.n_repeats]) for name, score in per_class_scores.items()]
    return Clips(["clips"], capped(rows), [("all clips", [record.cache.n_clips]), ("groups", [record.n_groups])])


def settings(record: Record) -> list[tuple[str, Pairs]]:
    """Return the settings that the run depends on, in groups: options, features, cache, versions."""
    options = [
        (name.replace("_", "-"), _UNSET.get(name, "none") if value is None else _in_words(value))
        for name, value in record.options.items()
    ]
    if record.command == "fit":
        options.insert(1, ("parameters", f"{record.n_parameters:,}"))
    cache = record.cache
    about = [
        ("file", cache.file),
        ("clips", f"{cache.n_clips:,}"),
        *([("rows of a long clip", _crop_in_words(record))] if record.cropping != Crop() else []),
        ("numbers", cache.dtype),
        ("fingerprint", cache.fingerprint),
        ("made with", ", ".join(f"{name} {version}" for name, version in cache.versions.items())),
    ]
    features = [(name, _in_words(value)) for name, value in record.settings.items()]
    return [
        ("Options", options),
        ("Features", [("feature code", f"version {record.feature_version}"), *features]),
        ("Cache", about),
        ("Versions", list(record.versions.items())),
    ]


def _crop_in_words(record: Record) -> str:
    seconds = f"{MelSettings(**record.settings).row_seconds:.2g} s"  # type: ignore[arg-type]  # as the record checks
    if record.crop == "loudest":
        most = f"of {seconds} with the most energy"
        return f"the window {most}" if record.n_windows == 1 else f"the {record.n_windows} windows {most}, averaged"
    return f"windows of {seconds} that overlap by {100 * record.overlap:.0f} %, averaged"


def probe(found: LeakProbe | None) -> str:
    """Say whether the way the clips were recorded gives the class away."""
    if found is None:
        return "It could not be tried: a class has too few independent groups to cross-validate."
    low, high = map(human_percent, found.interval)
    measured = (
        f"From duration, sample rate and file format alone, a random forest predicts the class of {low} to {high} of "
        f"the clips (95 % interval; measured: {human_percent(found.accuracy)}). Always guessing the most frequent "
        f"class is right for {human_percent(found.majority)}. "
    )
    if found.leaks:
        return measured + "So the way they were recorded gives the class away, and a good score may come from that."
    return measured + "So nothing there gives the class away."


def capped(rows: Sequence[Row]) -> Shown[Row]:
    """Return the first rows of a table."""
    return Shown(len(rows), rows[:MAX_ROWS])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _in_words(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
