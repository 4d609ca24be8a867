"""The sections of a report: what `templates/report.html` says of a run, taken from its record and its cache."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cache import Cache
from cache.look.repeats import equal_content
from cache.shared.text import human_seconds
from train.dataset.splits import SPLITS
from train.score.metrics import are_few

# What a table shows at most, so that the page stays a page.
MAX_ROWS = 100
MAX_CONFUSIONS = 8
MAX_CLASSES_NAMED = 6

_WHAT = {
    "majority class": "always the most frequent class",
    "random forest": "on each mel band's mean and deviation",
}
# What holds where an option was not given.
_UNSET = {"learning_rate": "the model's own", "group_by": "by file name"}

Record = Mapping[str, Any]
Section = dict[str, Any]


def head(folder: Path, record: Record) -> Section:
    """Return what stands above everything: what was trained, on what, when, and what puts the score in doubt."""
    options, n_classes = record["options"], len(record["class_names"])
    classes = _listed(record["class_names"]) if n_classes <= MAX_CLASSES_NAMED else f"{n_classes} classes"
    if record["command"] == "fit":
        split = record["split"]
        lead = f"{record['n_parameters']:,} parameters, trained on {split['train']['n']:,} clips of {classes}. "
        lead += f"Of {record['n_epochs']} epochs the {_ordinal(record['best_epoch'])} is kept, "
        accuracy = record["validation_accuracy"]
        lead += "the last." if accuracy is None else f"the best on {split['val']['n']:,} validation clips."
    else:
        times = "" if options["repeats"] == 1 else f", {options['repeats']} times with new folds"
        lead = f"{record['cache']['n_clips']:,} clips of {classes} in {record['n_groups']:,} independent groups, "
        lead += f"cross-validated in {options['folds']} folds{times}."
    started = datetime.fromisoformat(record["started"])
    return {
        "title": folder.resolve().name,
        "model": options["model"],
        "kind": f"{'Fit' if record['command'] == 'fit' else 'Cross-validation'} of the model {options['model']}",
        "started": f"{started.day} {started:%B %Y, %H:%M}",
        "took": human_seconds(record["seconds"]),
        "lead": lead,
        "warnings": record["warnings"],
        "thresholds": record.get("thresholds", {}),
        "thresholds_of": record.get("thresholds_of", ""),
    }


def scores(record: Record) -> list[Section]:
    """Return the network's accuracy with its interval, then those of what needs no network, or no sound."""
    found = [("network", "this network", "", record["metrics"])]
    found += [("baseline", name, _WHAT.get(name, ""), score) for name, score in record["sanity"].items()]
    if record["leak_probe"]:
        what = "from duration, sample rate and file format, over all clips"
        found.append(("baseline", "without sound", what, record["leak_probe"]))
    return [
        {
            "kind": kind,
            "name": name,
            "what": what,
            "accuracy": score["accuracy"],
            "low": score["interval"][0],
            "high": score["interval"][1],
        }
        for kind, name, what, score in found
    ]


def tested(record: Record) -> str:
    """Say in a sentence what the score was measured on, and in another if that were few speakers or recordings."""
    n, n_groups = record["metrics"]["n"], record["metrics"].get("n_groups", record["metrics"]["n"])
    few = f" They are of {n_groups} groups only, so the interval is Student's t." if are_few(n_groups, n) else ""
    if record["command"] == "fit":
        return f"Measured on {n:,} clips that were never trained on and chose nothing.{few}"
    repeats = record["options"]["repeats"]
    times = {1: "once", 2: "twice"}.get(repeats, f"{repeats} times")
    return f"Every clip was tested {times}, by a network that never saw its group.{few}"


def temperature(record: Record) -> str:
    """Say with what the probabilities were calibrated."""
    if record["command"] != "fit":
        return "These are the probabilities as the networks give them; only a fit calibrates them."
    n = record["split"]["val"]["n"]
    if record.get("temperature") is not None:
        return (
            f"They are calibrated with the temperature {record['temperature']:.2f}, fitted on {n:,} validation clips."
        )
    why = "this run is of an earlier version" if n else "there were no validation clips"
    return f"These are the probabilities as the network gives them, not calibrated: {why}."


def classes(record: Record) -> Section:
    """Return the score of each class; of too many, of those with the lowest F1."""
    rows = [{"name": name, **score} for name, score in record["metrics"]["per_class"].items()]
    shown = rows if len(rows) <= MAX_ROWS else sorted(rows, key=lambda row: float(row["f1"]))[:MAX_ROWS]
    return {"n": len(rows), "shown": shown}


def confusions(record: Record) -> Section:
    """Return the most frequent confusions of one class with another."""
    names, matrix = record["class_names"], record["metrics"]["confusion"]
    rows = [
        {"true": names[i], "predicted": names[j], "n": n, "share": n / sum(row)}
        for i, row in enumerate(matrix)
        for j, n in enumerate(row)
        if n and i != j
    ]
    shown = sorted(rows, key=lambda row: -row["n"])[:MAX_CONFUSIONS]
    return {"n": len(rows), "total": sum(row["n"] for row in rows), "shown": shown}


def folds(record: Record) -> Section:
    """Return the folds of a cross-validation; nothing for a fit."""
    rows = record.get("folds", [])
    return {"n": len(rows), "shown": rows[:MAX_ROWS], "baselines": list(rows[0]["sanity"])} if rows else {}


def data(record: Record, cache: Cache | None, missing: str) -> Section:
    """Return what there is to know of the clips.

    Parameters
    ----------
    record
        Of the run.
    cache
        The run's own; None: it is not there.
    missing
        Why it is not.
    """
    columns, rows, totals = _counts(record)
    section: Section = {
        "columns": columns,
        "classes": rows[:MAX_ROWS],
        "n_classes": len(rows),
        "totals": totals,
        "probe": _probe(record["leak_probe"]),
        "missing": missing,
    }
    if cache is not None:
        section |= {"rejected": _capped(cache.rejections), **repeats(cache)}
    return section


def repeats(cache: Cache) -> Section:
    """Return the clips of equal content: `conflicts` are in two classes, `duplicates` in one."""
    labels, paths, equal = cache.labels, cache.columns["path"], equal_content(cache)
    found: dict[bool, list[list[str]]] = {True: [], False: []}
    for rows in equal:
        is_conflict = len({int(labels[row]) for row in rows}) > 1
        found[is_conflict].append([paths[row].decode() for row in rows])
    return {"conflicts": _capped(found[True]), "duplicates": _capped(found[False])}


def settings(record: Record) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what the run depends on, in groups: options, cache, feature settings, versions."""
    options = [
        (name.replace("_", "-"), _UNSET.get(name, "none") if value is None else _in_words(value))
        for name, value in record["options"].items()
    ]
    if "n_parameters" in record:
        options.insert(1, ("parameters", f"{record['n_parameters']:,}"))
    cache = record["cache"]
    about = [
        ("file", cache["file"]),
        ("clips", f"{cache['n_clips']:,}"),
        ("numbers", cache["dtype"]),
        ("fingerprint", cache["fingerprint"]),
        ("made with", ", ".join(f"{name} {version}" for name, version in cache["versions"].items())),
    ]
    features = [(name, _in_words(value)) for name, value in record["settings"].items()]
    return [
        ("Options", options),
        ("Features", [("feature code", f"version {record['feature_version']}"), *features]),
        ("Cache", about),
        ("Versions", list(record["versions"].items())),
    ]


def _counts(record: Record) -> tuple[list[str], list[tuple[str, list[int]]], list[tuple[str, list[int]]]]:
    """Return the columns of the table of clips, its rows and the rows below them."""
    names = record["class_names"]
    if record["command"] == "fit":
        sides = [record["split"][side] for side in SPLITS]
        per_class = [[side["n_per_class"][name] for side in sides] for name in names]
        n_groups = [side["n_groups"] for side in sides]
        rows = [(name, [*counts, sum(counts)]) for name, counts in zip(names, per_class, strict=True)]
        totals = [("all clips", [*(side["n"] for side in sides), record["cache"]["n_clips"]])]
        return [*SPLITS, "all"], rows, [*totals, ("groups", [*n_groups, sum(n_groups)])]
    repeats = record["options"]["repeats"]
    rows = [(name, [score["n"] // repeats]) for name, score in record["metrics"]["per_class"].items()]
    return ["clips"], rows, [("all clips", [record["cache"]["n_clips"]]), ("groups", [record["n_groups"]])]


def _probe(probe: Record | None) -> str:
    if probe is None:
        return "It could not be tried: a class has too few independent groups to cross-validate."
    low, high = probe["interval"]
    found = (
        f"From duration, sample rate and file format alone, a random forest tells the class of {_percent(low)} to "
        f"{_percent(high)} of the clips (95 % interval; measured: {_percent(probe['accuracy'])}). Always naming the "
        f"most frequent class is right for {_percent(probe['majority'])}. "
    )
    if probe["leaks"]:
        return found + "So the way they were recorded gives the class away, and a good score may come from that."
    return found + "So nothing there gives the class away."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _capped(rows: Sequence[Any]) -> Section:
    return {"n": len(rows), "shown": rows[:MAX_ROWS], "all": rows}


def _in_words(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _ordinal(n: int) -> str:
    ending = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
