"""compare(): runs side by side, and which of their scores may be compared."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cache.shared.errors import UserError
from cache.shared.text import printable
from train.runs.record import FINISHED, Record, read_record
from train.score.mcnemar import McNemar, Tested, mcnemar, pairs, read_tested

# Settings that the columns model and split already show.
_SHOWN_ELSEWHERE = {"model", "val", "test", "folds", "repeats"}


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes
    ----------
    folder
        The run directory.
    command
        Which command made it: fit or crossval.
    model
        The name of its model.
    options
        All options it was made with.
    split
        Clips to train, to choose the epoch and to test, as 84/18/18; or folds and repeats.
    n
        Clips it was tested on; 0 without a test.
    n_groups
        Groups of them, where the run says.
    accuracy, interval, macro_f1
        Its score and the 95 % interval of the accuracy, in [0, 1]; None without a test.
    seconds
        How long it took.
    cache
        Where its cache was.
    fingerprint
        Of its cache.
    tested
        What it answered to every clip.
    clips
        Entries of equal number, from 1, were tested on the same clips.
    difference
        McNemar's test of the best run on these clips (first) and this one (second); None for the best itself.
    """

    folder: Path
    command: str
    model: str
    options: dict[str, Any]
    split: str
    n: int
    n_groups: int | None
    accuracy: float | None
    interval: tuple[float, float] | None
    macro_f1: float | None
    seconds: float
    cache: str
    fingerprint: str
    tested: Tested | None
    clips: int = 0
    difference: McNemar | None = None


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, what not all of them have in common, and what to beware of."""

    entries: list[Entry]
    settings: list[str]
    warnings: list[str]


def compare(paths: Sequence[Path], sort: str = "accuracy") -> Comparison:
    """Read the records of some runs and compare them.

    Parameters
    ----------
    paths
        Run directories, or folders that hold some at any depth.
    sort
        `accuracy` (the best first), `seconds` (the fastest first) or `run` (by name).

    Raises
    ------
    UserError
        A path is no run directory and holds none, or nothing is finished there.
    """
    entries, warnings = [], []
    for folder, is_named in _run_folders(paths):
        try:
            record = read_record(folder)
            if record.state == FINISHED:
                entries.append(_entry(folder, record))
            else:
                warnings.append(f"{folder} is unfinished and left out")
        except UserError as error:
            if is_named:
                raise
            warnings.append(f"left out: {error}")
    if not entries:
        raise UserError(f"{' '.join(map(str, paths))}: there is no finished run; make one with `python -m train fit`")
    entries = _tested_alike(sorted(entries, key=lambda entry: -(entry.accuracy or 0)))
    n_sets = len({entry.clips for entry in entries if entry.clips})
    if n_sets > 1:
        warnings.append(
            f"not all runs were tested on the same clips (there are {n_sets} sets), so a higher score may only mean"
            " easier clips; compare those of one set"
        )
    if sort != "accuracy":
        entries.sort(key=lambda entry: entry.seconds if sort == "seconds" else str(entry.folder))
    return Comparison(entries, _differing(entries), warnings)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return what `--json` prints."""
    best = {entry.clips: str(entry.folder) for entry in comparison.entries if entry.difference is None}
    return {
        "runs": [
            {
                "run": str(entry.folder),
                "command": entry.command,
                **entry.options,
                "split": entry.split,
                "n": entry.n,
                "accuracy": entry.accuracy,
                "interval": entry.interval,
                "macro_f1": entry.macro_f1,
                "seconds": entry.seconds,
                "fingerprint": entry.fingerprint,
                "clips": entry.clips or None,
                "mcnemar": entry.difference
                and {
                    "against": best[entry.clips],
                    "only_this_right": entry.difference.only_second,
                    "only_that_right": entry.difference.only_first,
                    "p": entry.difference.p,
                },
            }
            for entry in comparison.entries
        ],
        "differing": comparison.settings,
        "warnings": comparison.warnings,
    }


def _run_folders(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield every run directory once, and whether it was named itself."""
    seen = set()
    for path in paths:
        is_named = (path / "run.json").exists()
        found = [path] if is_named else sorted(_below(path))
        if not found:
            what = "holds no run" if path.is_dir() else "is no run directory, nor a folder of them"
            raise UserError(f"{path} {what}; make one with `python -m train fit`")
        for folder in found:
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield folder, is_named


def _below(path: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(path):
        if "run.json" in files:
            names.clear()
            yield Path(folder)


def _entry(folder: Path, found: Record) -> Entry:
    record = found.as_dict()
    try:
        options, metrics = dict(record["options"]), record["metrics"]
        is_fit = record["command"] == "fit"
        parts = record["split"] if is_fit else {}
        n_folds = "" if is_fit else f"{int(options['folds'])} folds"
        low, high = metrics["interval"] if metrics else (0.0, 0.0)
        return Entry(
            folder=folder,
            command="fit" if is_fit else "crossval",
            model=str(options["model"]),
            options=options,
            split="/".join(str(int(part["n"])) for part in parts.values()) if is_fit else n_folds + _times(options),
            n=int(metrics["n"]) if metrics else 0,
            n_groups=int(parts["test"]["n_groups"] if is_fit else record["n_groups"]),
            accuracy=float(metrics["accuracy"]) if metrics else None,
            interval=(float(low), float(high)) if metrics else None,
            macro_f1=float(metrics["macro_f1"]) if metrics else None,
            seconds=float(record["seconds"]),
            cache=str(record["cache"]["file"]),
            fingerprint=str(record["cache"]["fingerprint"]),
            tested=read_tested(folder, found) if metrics else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{folder / 'run.json'} is damaged: it is not the record of a run; train again") from None


def _times(options: dict[str, Any]) -> str:
    return f" x {int(options['repeats'])}" if options["repeats"] != 1 else ""


def _tested_alike(entries: list[Entry]) -> list[Entry]:
    """Return the entries with the number of their set of clips, each tested against the first of its set."""
    firsts: list[Entry] = []
    compared = []
    for entry in entries:
        if entry.tested is None:
            compared.append(entry)
            continue
        for number, first in enumerate(firsts, start=1):
            assert first.tested is not None
            answers = pairs(first.tested, entry.tested)
            if answers is not None:
                compared.append(replace(entry, clips=number, difference=mcnemar(answers)))
                break
        else:
            firsts.append(entry)
            compared.append(replace(entry, clips=len(firsts)))
    return compared


def _differing(entries: list[Entry]) -> list[str]:
    names = dict.fromkeys(name for entry in entries for name in entry.options)
    return [
        name
        for name in names
        if name not in _SHOWN_ELSEWHERE and len({repr(entry.options.get(name)) for entry in entries}) > 1
    ]


def shown_setting(entry: Entry, name: str) -> str:
    """Return an option of a run in words; what was left to the model is `default`."""
    value = entry.options.get(name)
    return "default" if value is None else printable(str(value))
