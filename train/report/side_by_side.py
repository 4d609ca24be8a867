"""A comparison of runs as people and programs read it: text in the terminal's width, JSON, CSV, an HTML page."""

import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from cache.shared.text import aligned, csv_line, human_count, human_interval, human_percent, human_seconds, printable
from train.report.page import render
from train.score.compare import Comparison, Entry

_N_DIGITS = 8  # of a fingerprint


def as_text(comparison: Comparison, width: int | None) -> str:
    """Return the table as plain text.

    A table that is wider than the terminal is stacked, with the name and the settings of a run under its numbers.
    Without a width it is as wide as it is.
    """
    header, rows = _numbers(comparison)
    names, words = _words(comparison)
    to_left = range(len(header), len(header) + len(names))
    lines = aligned([[*header, *names], *([*a, *b] for a, b in zip(rows, words, strict=True))], to_left)
    if width is not None and max(map(len, lines)) > width:
        lines, entries = [], aligned([header, *rows], ())
        lines.append(entries[0])
        for numbers, row in zip(entries[1:], words, strict=True):
            about = ", ".join(f"{name} {word}" for name, word in zip(names[:-1], row[:-1], strict=True))
            lines += [numbers, *_indented(f"{row[-1]}" + (f": {about}" if about else ""), width)]
    return "\n".join([*_indented(_in_common(comparison), width, ""), *lines, *_notes(comparison, width)])


def as_json(comparison: Comparison) -> dict[str, object]:
    """Return what `--json` prints."""
    best = {entry.clips: str(entry.folder) for entry in comparison.entries if entry.difference is None}
    runs = []
    for entry in comparison.entries:
        metrics, found = entry.record.metrics, entry.difference
        mcnemar = found and {
            "against": best[entry.clips],
            "only_this_right": found.only_second,
            "only_that_right": found.only_first,
            "p": found.p,
        }
        interval = metrics and metrics.interval
        runs.append({**_facts(entry), **entry.record.options, "interval": interval, "mcnemar": mcnemar})
    return {"runs": runs, "differing": comparison.settings, "warnings": comparison.warnings}


def as_csv(comparison: Comparison) -> str:
    """Return the table as CSV, with numbers as they are."""
    scored = ("split", "clips", "n", "accuracy", "low", "high", "macro_f1", "p", "seconds", "fingerprint")
    header, rows = ("run", "command", "model", *comparison.settings, *scored), []
    for entry in comparison.entries:
        low, high = entry.record.metrics.interval if entry.record.metrics else (None, None)
        more = {"model": entry.record.model, "low": low, "high": high, "p": entry.difference and entry.difference.p}
        cells = {**entry.record.options, **_facts(entry), **more}
        rows.append([cells.get(name) for name in header])
    return "".join(map(csv_line, (header, *rows))).removesuffix("\n")


def _facts(entry: Entry) -> dict[str, object]:
    """Return the numbers of a run that programs read in every format."""
    record, metrics = entry.record, entry.record.metrics
    return {
        "run": str(entry.folder),
        "command": record.command,
        "split": entry.split,
        "clips": entry.clips or None,
        "n": metrics.n if metrics else 0,
        "accuracy": metrics and metrics.accuracy,
        "macro_f1": metrics and metrics.macro_f1,
        "seconds": record.seconds,
        "fingerprint": record.cache.fingerprint,
    }


def as_html(comparison: Comparison) -> str:
    """Return the table as one page that needs nothing beside itself."""
    header, rows = _numbers(comparison)
    names, words = _words(comparison)
    page = {
        "title": _in_common(comparison),
        "n_numbers": len(header),
        "header": [names[-1], *header, *names[:-1]],
        "rows": [[b[-1], *a, *b[:-1]] for a, b in zip(rows, words, strict=True)],
        "notes": _notes(comparison, None),
        "warnings": comparison.warnings,
    }
    return render(page, "compare.html")


def _in_common(comparison: Comparison) -> str:
    entries, first = comparison.entries, comparison.entries[0]
    line, base = human_count(len(entries), "run"), _base(entries)
    line += f" in {printable(str(base))}" if base != Path() else ""
    if not _vary(entry.record.cache.fingerprint for entry in entries):
        cache = first.record.cache
        line += f" on {printable(Path(cache.file).name)} ({printable(cache.fingerprint[:_N_DIGITS])})"
    if not _vary(entry.record.model for entry in entries):
        line += f", model {printable(first.record.model)}"
    if not _vary(entry.split for entry in entries):
        line += f", {_split_name(entries)} {first.split}"
    return line


def _numbers(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    entries = comparison.entries
    scores = [entry.record.metrics for entry in entries]
    columns = {
        "accuracy": [human_percent(score.accuracy) if score else "no test" for score in scores],
        "95 % interval": [human_interval(score.interval) if score else "" for score in scores],
    }
    if any(entry.difference for entry in entries):
        columns["p"] = [_p(entry.difference.p) if entry.difference else "" for entry in entries]
    columns["time"] = [human_seconds(entry.record.seconds) for entry in entries]
    if _vary(entry.clips for entry in entries if entry.clips):
        columns["set"] = [_letter(entry.clips) for entry in entries]
    if _vary(entry.split for entry in entries):
        columns[_split_name(entries)] = [entry.split for entry in entries]
    if _vary(entry.record.cache.fingerprint for entry in entries):
        columns["cache"] = [printable(entry.record.cache.fingerprint[:_N_DIGITS]) for entry in entries]
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _words(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return model, settings and name of each run; the name is last because it may be long."""
    base = _base(comparison.entries)
    models = _vary(entry.record.model for entry in comparison.entries)
    names = ["model"] * models + [name.replace("_", "-") for name in comparison.settings] + ["run"]
    rows = [
        [printable(entry.record.model)] * models
        + [_setting(entry, name) for name in comparison.settings]
        + [printable(str(entry.folder.relative_to(base) if base.parts else entry.folder))]
        for entry in comparison.entries
    ]
    return names, rows


def _notes(comparison: Comparison, width: int | None) -> list[str]:
    differences = [entry for entry in comparison.entries if entry.difference]
    if not differences:
        return []
    lines = [""]
    if len(differences) == 1 and (difference := differences[0].difference):
        one = differences[0]
        best = next(e for e in comparison.entries if e.clips == one.clips and e.difference is None)
        lines += _indented(
            f"only {printable(best.folder.name)} is right on {_clips(difference.only_first)},"
            f" only {printable(one.folder.name)} on {_clips(difference.only_second)}",
            width,
            "",
        )
    text = "p: McNemar's exact test against the best run on the same clips"
    if any(entry.has_groups for entry in differences):
        text += "; it assumes that clips are independent, which clips of one speaker or recording are not"
    return lines + _indented(text, width, "")


def _indented(text: str, width: int | None, indent: str = "    ") -> list[str]:
    if width is None:
        return [indent + text]
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _base(entries: Sequence[Entry]) -> Path:
    """Return the folder that holds all of several runs, which is shown once."""
    if len(entries) == 1 or _vary(entry.folder.is_absolute() for entry in entries):
        return Path()
    return Path(os.path.commonpath([entry.folder.parent for entry in entries]))


def _setting(entry: Entry, name: str) -> str:
    """Return an option of a run in words; an option that was not given is `default`."""
    value = entry.record.options.get(name)
    return "default" if value is None else printable(str(value))


def _vary(values: Iterable[object]) -> bool:
    return len(set(values)) > 1


def _split_name(entries: Sequence[Entry]) -> str:
    return "train/val/test" if all(entry.record.command == "fit" for entry in entries) else "split"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _letter(number: int) -> str:
    return "" if not number else chr(64 + number) if number <= 26 else str(number)


def _clips(n: int) -> str:
    return human_count(n, "clip") if n else "none"
