"""make(): chosen clips of caches as a cache of their own, which has the bits that featurize would give it."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cache.file.columns import COLUMNS, Columns, Rejected
from cache.file.header import FORMAT_VERSION, Header
from cache.file.publish import publish
from cache.file.reader import Cache
from cache.labels.corrections import FILE, Correction, Decision, every_correction, last_decisions, still_holds
from cache.shared.errors import UserError
from cache.shared.files import as_path, locked, refuse_existing, replacing
from cache.shared.segment import in_turn, segment_of
from cache.shared.text import csv_line, human_count, human_list, printable
from cache.shared.tree import subset_and_folder
from cache.shared.types import Rows

# Clips that an error names.
N_SHOWN = 3


@dataclass(frozen=True)
class Chosen:
    """Clips of caches that become a cache of their own."""

    caches: Sequence[Cache]
    header: Header  # that of the new cache, but for what depends on its place
    data: str  # the folder that holds the clips
    tables: Sequence[Path]  # the tables of labels, and folders of them
    columns: Columns  # those of all rows of the caches, one cache behind the other
    labels: Rows  # the label index that each of these rows has in the new cache; -1 if its class is not there
    found_in: Rows  # that of the class of its folder or table, before corrections
    clips: Mapping[str, Sequence[int]]  # the rows of each clip that is chosen, by the clip's path
    rejected: Sequence[Rejected]


def all_clips(caches: Sequence[Cache], class_names: Sequence[str]) -> Chosen:
    """Return all clips of caches, with their label indices among some classes; header and data are the first's."""
    columns = {name: np.concatenate([cache.columns[name] for cache in caches]) for name in COLUMNS}
    number = {name: label for label, name in enumerate(class_names)}
    index = [np.array([number.get(name, -1) for name in cache.class_names]) for cache in caches]
    labels = np.concatenate([of[cache.labels] for of, cache in zip(index, caches, strict=True)])
    found_in = np.concatenate([of[cache.found_in] for of, cache in zip(index, caches, strict=True)])
    clips: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(np.where(columns["clip"] == b"", columns["path"], columns["clip"]).tolist()):
        clips[path.decode()].append(row)
    rejected = {one.path: one for cache in reversed(caches) for one in cache.rejected_clips}
    tables = [*dict.fromkeys(path for cache in caches for path in cache.table_paths)]
    header, data = caches[0].header, caches[0].data_folder
    return Chosen(caches, header, data, tables, columns, labels, found_in, clips, [*rejected.values()])


def place_of(out: str | os.PathLike[str]) -> Path:
    """Return the file that is to be made, where there must be none yet."""
    file = as_path(out, "out")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is not a folder; make it, or give another --out")
    refuse_existing(file, "--out")
    return file.resolve()


def make(chosen: Chosen, out: Path, notify: Callable[[str], None]) -> Cache:
    """Write the clips in the order of featurize, at most as many of each class as the header says.

    Their rows are copied as bytes. Raises a UserError if a class has no clip, corrections do not agree with the clips,
    or the file cannot be written; nothing is left of it then.
    """
    chosen = _in_order(chosen)
    rows = np.array([row for rows in chosen.clips.values() for row in rows], np.intp)
    there = {*chosen.labels[rows].tolist()}
    if empty := [name for label, name in enumerate(chosen.header.class_names) if label not in there]:
        raise UserError(f"no clip is left of {', '.join(map(printable, empty))}; leave the class out")
    header = replace(
        chosen.header,
        data_dir=os.path.relpath(chosen.data, out.parent),
        tables=tuple(os.path.relpath(path, out.parent) for path in chosen.tables),
        format_version=FORMAT_VERSION,
    )
    columns = {name: column[rows] for name, column in chosen.columns.items()}
    columns["corrected"] = ((columns["corrected"] > 0) * (1 + chosen.found_in[rows])).astype("<i4")
    try:
        with locked(out.with_name(out.name + ".lock"), f"is writing {out}", "give another --out", notify):
            place_of(out)
            with _corrections_carried(chosen, out, notify):
                return publish(
                    out, header, columns, chosen.labels[rows], rows, chosen.caches, None, chosen.rejected, notify
                )
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); nothing is left of it") from error


def _in_order(chosen: Chosen) -> Chosen:
    """Return the clips in the order of featurize: files by class and path, and behind them segments by recording.

    With a `max_per_class` in the header they are as many of each class as featurize takes, and those that it takes.
    """
    segments = {path: segment for path in chosen.clips if (segment := segment_of(path))}
    rejected = {one.path: one for one in chosen.rejected}
    most = chosen.header.max_per_class
    files = []
    # How many files of each class featurize looks at, by their subset.
    n_files = [Counter[str]() for _ in chosen.header.class_names]
    for label, subset, _, path in _places(chosen):
        if most and n_files[label][subset] == most:
            rejected.pop(path, None)
        elif path in rejected:
            n_files[label][subset] += rejected[path].size >= 0
        else:
            n_files[label][subset] += 1
            files.append(path)
    in_order = sorted(segments, key=lambda path: segments[path][:3])
    if most:
        found = [(int(chosen.found_in[chosen.clips[path][0]]), segments[path].recording) for path in in_order]
        in_order = [in_order[i] for i in in_turn(found, most, [counts.total() for counts in n_files])]
    clips = {path: chosen.clips[path] for path in (*files, *in_order)}
    return replace(chosen, clips=clips, rejected=sorted(rejected.values()))


def _places(chosen: Chosen) -> list[tuple[int, str, int, str]]:
    """Return label, subset, number among the members and path of each file in a class folder, in this order."""
    members = chosen.header.members.values()
    numbers = {name: (label, i) for label, names in enumerate(members) for i, name in enumerate(names)}
    places = []
    for path in (*chosen.clips, *(one.path for one in chosen.rejected)):
        subset, folder = subset_and_folder(path, numbers)
        if folder and not segment_of(path):
            label, i = numbers[folder]
            places.append((label, subset, i, path))
    return sorted(places)


def corrections_beside(caches: Sequence[Cache], notify: Callable[[str], None]) -> list[Correction]:
    """Return the lines of all tables of corrections that lie beside caches, one table behind the other."""
    files = dict.fromkeys(cache.file.resolve().with_name(FILE) for cache in caches)
    return [one for file in files for one in every_correction(file, notify)]


@contextmanager
def _corrections_carried(chosen: Chosen, out: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Write the caches' corrections beside a new one, where featurize looks for them; they go if the block fails.

    Raises a UserError if others are there already, or a clip is not as featurize would make it after these.
    """
    file = out.with_name(FILE)
    corrections = corrections_beside(chosen.caches, notify)
    decisions = last_decisions(corrections)
    is_there = file.exists()
    if is_there:
        there = last_decisions(every_correction(file, lambda line: None))
        if lacking := [one.path for sha256, one in decisions.items() if _effect(there.get(sha256)) != _effect(one)]:
            raise UserError(
                f"{file} lacks {human_count(len(lacking), 'correction')} that the caches have"
                f" ({human_list(lacking, N_SHOWN)}); append the lines of their {FILE} to it"
            )
        decisions = there
    if odd := _not_as_decided(chosen, decisions):
        raise UserError(
            f"{human_count(len(odd), 'clip')} {'is' if len(odd) == 1 else 'are'} not as {FILE} says"
            f" ({human_list(odd, N_SHOWN)}); put one {FILE} with all corrections beside each cache, and bring them"
            " up to date with `python -m featurize` first"
        )
    is_new = bool(corrections) and not is_there
    if is_new:
        with replacing(file, sync=True) as beside:
            lines = [csv_line(Correction._fields), *map(csv_line, dict.fromkeys(corrections))]
            beside.write_text("".join(lines), "utf-8", "backslashreplace")
    try:
        yield
    except BaseException:
        if is_new:
            file.unlink(missing_ok=True)
        raise


def _effect(one: Correction | None) -> tuple[Decision, str] | None:
    """Return what a decision changes about a clip; None for nothing."""
    return None if one is None or one.decision in (Decision.RIGHT, Decision.UNSURE) else (one.decision, one.new)


def _not_as_decided(chosen: Chosen, decisions: Mapping[str, Correction]) -> list[str]:
    """Return the paths of clips that featurize would give another class, or reject, or not reject."""
    names, content = chosen.header.class_names, chosen.columns["sha256"]
    odd = []
    for path, (row, *_) in chosen.clips.items():
        one = decisions.get(content[row].decode())
        right = one.new if one is not None and one.decision is Decision.CHANGE else names[chosen.found_in[row]]
        if right != names[chosen.labels[row]] or (one is not None and one.why_rejected(names)):
            odd.append(path)
    holds = still_holds(decisions, names)
    return odd + [one.path for one in chosen.rejected if not holds(one.path, one.reason)]
