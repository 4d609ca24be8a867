"""subset(): some clips of a cache as a cache of their own."""

import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from cache.combine.make import Chosen, all_clips, corrections_beside, make, place_of
from cache.file.columns import Rejected
from cache.file.header import Header
from cache.file.reader import Cache, open_cache
from cache.labels.corrections import last_decisions
from cache.shared.errors import UserError
from cache.shared.segment import recording_of, segment_of
from cache.shared.text import human_list, printable
from cache.shared.tree import BACKGROUND, subset_and_folder


def subset(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    classes: Sequence[str] = (),
    max_per_class: int | None = None,
    where: str | None = None,
    notify: Callable[[str], None] = warnings.warn,
) -> Cache:
    """Make a cache of some clips of another one, to the bit as featurize makes it of these clips.

    Raises a UserError if no clip is left, the cache does not have what is asked for, or `out` exists.

    Parameters
    ----------
    classes
        Those to take, in the order of their label index; empty: all.
    max_per_class
        How many clips of each class, chosen as featurize does; 0 for all, None: as the cache has it.
    where
        A regular expression: take only clips in whose path it is found.
    """
    target = place_of(out)
    cache = open_cache(file)
    names = _named(cache, classes)
    regex = _regex(where)
    found_in = [cache.class_names[label] for label in cache.found_in[cache.first_rows].tolist()]
    there = {name for name, path in zip(found_in, cache.clip_paths, strict=True) if regex.search(recording_of(path))}
    if there.isdisjoint(names):
        raise UserError(f"no path of a clip in {cache.file} matches {where!r}")
    if gone := [name for name in names if name not in there]:
        if classes:
            raise UserError(f"no clip is left of {human_list(gone)}; leave the class out")
        notify(f"no clip is left of {human_list(gone)}, so that is not a class of {target.name}")
        names = tuple(name for name in names if name in there)
    if where is not None:
        notify(f"--where is not remembered: featurize would add the other clips of DATA to {target.name}")
    whole = replace(all_clips([cache], names), header=_header(cache, names, max_per_class))
    clips = {
        path: rows
        for path, rows in whole.clips.items()
        if whole.found_in[rows[0]] >= 0 and regex.search(recording_of(path))
    }
    folders = {*whole.header.folders}
    rejected = [
        one
        for one in whole.rejected
        if regex.search(recording_of(one.path))
        # The class of a segment that was rejected is not known.
        and (segment_of(one.path) or subset_and_folder(one.path, folders)[1])
    ]
    return make(_without_other_classes(replace(whole, clips=clips, rejected=rejected)), target, notify)


def _named(cache: Cache, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that are asked for."""
    if isinstance(classes, str):
        classes = classes.split(",")
    if missing := [name for name in classes if name not in cache.class_names]:
        raise UserError(f"{cache.file} has no class {human_list(missing)}; it has {human_list(cache.class_names)}")
    if len({*classes}) < len(classes):
        raise UserError(f"a class is named twice: {', '.join(map(printable, classes))}")
    return tuple(classes) or cache.class_names


def _regex(where: str | None) -> re.Pattern[str]:
    try:
        return re.compile(where or "")
    except re.error as error:
        raise UserError(f"{where!r} is not a regular expression ({error})") from None


def _header(cache: Cache, names: tuple[str, ...], max_per_class: int | None) -> Header:
    old = cache.header
    most = old.max_per_class if max_per_class is None else max_per_class
    if old.max_per_class and (most == 0 or most > old.max_per_class):
        raise UserError(f"{cache.file} itself was made with --max-per-class {old.max_per_class}; ask for no more")
    background = old.background if BACKGROUND in names else 0
    return replace(
        old.of_classes({name: old.members[name] for name in names}),
        max_per_class=most,
        background=background,
        label_length=old.label_length if old.widen or background else 0.0,
    )


def _without_other_classes(chosen: Chosen) -> Chosen:
    """Reject the clips whose corrections give them a class that is not chosen."""
    names = chosen.header.class_names
    decisions = last_decisions(corrections_beside(chosen.caches, lambda line: None))
    kept, rejected = {}, [*chosen.rejected]
    for path, rows in chosen.clips.items():
        if chosen.labels[rows[0]] >= 0:
            kept[path] = rows
            continue
        sha256, size, mtime_ns, inode = (
            chosen.columns[name][rows[0]].item() for name in ("sha256", "size", "mtime_ns", "inode")
        )
        if not (one := decisions.get(sha256.decode())) or not (reason := one.why_rejected(names)):
            raise UserError(
                f"{printable(path)} was corrected, and its correction is not beside {chosen.caches[0].file}; put it"
                " back, or bring the cache up to date with `python -m featurize`"
            )
        rejected.append(Rejected(path, size, mtime_ns, reason, inode))
    return replace(chosen, clips=kept, rejected=rejected)
