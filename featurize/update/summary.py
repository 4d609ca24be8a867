"""Summary of a run for its user, as text or as JSON."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from cache.file.columns import ABOVE, ROW_SHAPE
from cache.file.reader import Cache
from cache.look.info import clips_and_rows, facts, long_clips, n_silent_windows
from cache.shared.cli import command_line
from cache.shared.segment import recording_of, segment_of
from cache.shared.text import files_by_kind, human_count, human_list, human_seconds, human_size, printable
from cache.shared.tree import SUBSETS
from featurize.audio.find import backslash_words
from featurize.update.update import Result

# Lines about segments, and about conflicts, that are shown; --json has them all. So many further segments of one
# recording share the line of the first.
_N_SHOWN = 20
_MANY = 3


def as_json(result: Result) -> dict[str, object]:
    """Return everything a program may want to know of a run."""
    cache, found = result.cache, result.found
    where = _lines_of_tables(result)
    return {
        **facts(cache),
        "n_computed": result.n_computed,
        "n_reused": result.n_reused,
        "n_removed": result.n_removed,
        "n_low_rate": len(_low_rates(result)),
        "n_silent": len(cache.silent),
        "others": dict(found.others),
        "unclassed": found.loose,
        "label_problems": [
            {"table": str(table), "line": line, "reason": reason, "skipped": skipped}
            for table, line, reason, _, skipped in result.problems
        ],
        "n_duplicates": cache.n_duplicates,
        "conflicts": cache.conflicts,
        "rejected": [
            {"path": path, "reason": reason} | ({"where": where[path]} if path in where else {})
            for path, reason in cache.rejections
        ],
        "ignored": [{"path": path, "reason": f"it is {what}, not a file"} for path, what in found.ignored],
        "seconds": round(result.seconds, 3),
    }


def as_text(result: Result) -> str:
    """Return the summary that a person reads."""
    cache, found = result.cache, result.found
    where = _lines_of_tables(result)
    remarks = dict(cache.remarks)
    silent = {path: remarks.pop(path, "there is no sound in it, its row is all zeros") for path in cache.silent}
    used = {path: remark for path, remark in remarks.items() if ABOVE not in remark}
    conflicts = [f"{' = '.join(map(printable, paths))}: the same content in two classes" for paths in cache.conflicts]
    counts = {printable(name): counted.split(" ", 1) for name, counted in clips_and_rows(cache).items()}
    width = max(12, *map(len, counts))
    size = human_size(cache.file.stat().st_size)
    shape = " x ".join(map(str, (len(cache), *ROW_SHAPE[:2])))
    return "\n".join(
        [
            *(f"{name:{width}} {n:>7} {words}" for name, (n, words) in counts.items()),
            f"computed {result.n_computed}, reused {result.n_reused}, removed {result.n_removed}, rejected"
            f" {len(cache.rejections)}" + (f", cut short {cache.n_cut_short}" if cache.n_cut_short else ""),
            *_named("rejected", cache.rejections, where),
            *_named("ignored", [(path, f"it is {what}, not a file") for path, what in found.ignored], {}),
            *_named("silent", silent.items(), {}),
            *_named("used", used.items(), where),
            *_some("conflict", conflicts),
            *_counted(result),
            f"{printable(str(result.file))}: {size}, {shape} {cache.X.dtype}, {human_seconds(result.seconds)}",
            f"train on it: {printable(command_line('train', 'fit', result.file))}"
            if len(counts) > 1
            else _lonely(cache),
        ]
    )


def _lonely(cache: Cache) -> str:
    """Say of the only class why nothing can be trained on it, and which folders in it may be the classes."""
    words = f"{printable(cache.class_names[0])} is the only class, and a network needs two to tell apart"
    folders = {str(PurePosixPath(recording_of(path)).parent) for path in cache.paths}
    top = os.path.commonpath(folders)
    names = sorted({name for folder in folders for name in PurePosixPath(folder).relative_to(top).parts[:1]})
    if len(names) < 2 or cache.header.tables or not {name.lower() for name in names}.isdisjoint(SUBSETS):
        return words
    data = Path(os.path.relpath(f"{cache.data_folder}/{top}"))
    return f"{words}; for its folders {human_list(names)} as classes: {printable(command_line('featurize', data))}"


def _lines_of_tables(result: Result) -> dict[str, str]:
    """Return the line of a table that names each segment, by its path."""
    return {clip.path: clip.where for clip in result.found.clips if clip.where}


def _named(kind: str, clips: Iterable[tuple[str, str]], where: Mapping[str, str]) -> list[str]:
    """Return a line of remarks for each file, and one line for many segments of a recording."""
    lines: list[str] = []
    recordings: dict[str, list[str]] = {}
    for path, words in clips:
        recording = recording_of(path)
        told = lines if recording == path else recordings.setdefault(recording, [])
        told.append(printable(f"{path}: {where[path]}: {words}" if path in where else f"{path}: {words}"))
    segments = []
    for told in recordings.values():
        more = len(told) - 1
        segments += told if more < _MANY else [f"{told[0]}; and {more} more segments of this recording"]
    return [*(f"{kind} {line}" for line in lines), *_some(kind, segments)]


def _some(kind: str, lines: list[str]) -> list[str]:
    more = len(lines) - _N_SHOWN
    return [f"{kind} {line}" for line in lines[:_N_SHOWN]] + [f"{kind} {more} more, see --json"] * (more > 0)


def _fmax(result: Result) -> float:
    return float(result.cache.settings["fmax"])


def _low_rates(result: Result) -> list[int]:
    """Return the sample rates of clips that cannot hold all of the frequencies that a row shows."""
    rates = result.cache.columns["sr"][result.cache.first_rows]
    low: list[int] = rates[(rates < 2 * _fmax(result)) & (rates < int(result.cache.settings["sr"]))].tolist()
    return low


def _counted(result: Result) -> list[str]:
    """Return the lines that only count."""
    cache, found = result.cache, result.found
    lines = []
    if (limit := cache.header.max_per_class) and max(cache.n_clips_per_class.values()) == limit:
        lines.append(f"at most {human_count(limit, 'clip')} of each class, as was asked; --max-per-class 0 takes all")
    if found.others:
        lines.append(f"skipped because they are not audio files: {files_by_kind(found.others)}")
    if n := len(found.loose):
        it, lies, has = ("it", "lies", "has") if n == 1 else ("they", "lie", "have")
        # Recordings with labels need no class folder.
        why = f"{it} {has} no label" if cache.header.tables else f"{it} {lies} beside the class folders"
        files = f"{human_list(found.loose, 3)}{backslash_words(found.loose)}"
        lines.append(f"skipped because {why}: {files}")
    if longer := long_clips(cache):
        is_open = cache.header.crop == "middle" and not result.names_crop
        lines.append(f"{longer}; --crop segments uses all of them" if is_open else longer)
    if n := n_silent_windows(cache):
        lines.append(f"{human_count(n, 'window')} without sound skipped")
    if n := len(rates := _low_rates(result)):
        clips, highest = human_count(cache.n_clips, "clip"), f"{max(rates) / 2000:g} kHz"
        lines.append(
            f"{n} of {clips} {'holds' if n == 1 else 'hold'} nothing above {highest}, half the rate of the recording;"
            f" a row shows up to {_fmax(result) / 1000:g} kHz"
        )
    if n := cache.n_duplicates:
        what = (
            "clip is an exact copy of another in its class"
            if n == 1
            else "clips are exact copies of others in their class"
        )
        lines.append(f"{n} {what}; a split keeps them together")
    if recordings := Counter(recording_of(path) for path in cache.clip_paths if segment_of(path)):
        n, n_files = recordings.total(), len(recordings)
        what = "clip is a segment" if n == 1 else "clips are segments"
        groups = "a recording, which is a group" if n_files == 1 else f"{n_files} recordings, each a group"
        lines.append(f"{n} {what} of {groups} that a split keeps together")
    return lines
