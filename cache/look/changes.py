"""changes(): how DATA differs from a cache, by the sizes and times of its files; no clip is opened."""

import os
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from cache.file.reader import Cache
from cache.labels.read import tables
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from cache.shared.tree import Places, Tree, class_places, look_at, walk

# The most folders to look into, in addition to one for each clip.
MOST_FOLDERS = 10_000

# The size and time that featurize records for a clip whose status cannot be read.
_UNKNOWN = (-1, -1)


class Changes(NamedTuple):
    """How DATA differs from a cache."""

    data: str  # DATA, as an absolute path
    n_changed: int = 0  # clips whose size or time is not that of the cache, and rejected ones that would be tried again
    n_gone: int = 0  # clips that are no longer there
    n_new: int = 0  # audio files in the class folders that the cache does not know
    # How many files of other kinds are in the class folders, by extension.
    others: Mapping[str, int] = MappingProxyType({})
    n_tables: int = 0  # tables of labels that are missing, or newer than the cache
    reason: str = ""  # the reason why all this is unknown, in words; "" if it is known

    @property
    def state(self) -> str:
        """One of unchanged, changed and unknown."""
        found = self.n_changed or self.n_gone or self.n_new or self.n_tables
        return "unknown" if self.reason else "changed" if found else "unchanged"

    def as_json(self) -> dict[str, object]:
        """Return the entry `data` of `info --json`."""
        names = ("n_changed", "n_gone", "n_new", "n_tables")
        counts = {name: None if self.reason else getattr(self, name) for name in names}
        return {"folder": self.data, "state": self.state, **counts, "reason": self.reason or None}


def changes(cache: Cache) -> Changes:
    """Compare the class folders of DATA with a cache.

    Clips beyond the `--max-per-class` of a cache do not count as new.
    """
    data = cache.data_folder
    stamps = (cache.columns[name][cache.first_rows].tolist() for name in ("size", "mtime_ns"))
    known = dict(zip(cache.clip_paths, zip(*stamps, strict=True), strict=True))
    known |= {clip.path: (clip.size, clip.mtime_ns) for clip in cache.rejected_clips}
    recordings = {file for path in known if (file := recording_of(path)) != path}
    try:
        places = class_places(data)
    except OSError:
        places = Places([], {}, [], [])
    folders = places.folders_of(cache.header.folders)
    if not (folders or any(os.path.exists(f"{data}/{file}") for file in recordings)):  # noqa: PTH110
        return Changes(data, reason="the class folders are not there; DATA or the cache was moved")
    found: dict[str, tuple[int, ...]] = {}
    others: Counter[str] = Counter()
    # A cache from elsewhere may name any folder for DATA and for its tables.
    most = MOST_FOLDERS + len(known)
    try:
        trees = dict(zip(folders, walk(data, folders, most=most), strict=True))
        n_tables = _n_newer(cache, most)
    except UserError as error:
        return Changes(data, reason=str(error))
    for tree in chain.from_iterable(places.of_class(members, trees) for members in cache.header.members.values()):
        if unreadable := [f"{data}/{folder}: {reason}" for folder, reason in tree.unreadable if folder in trees]:
            return Changes(data, reason=unreadable[0])
        looked = look_at(data, tree, cache.header.max_per_class or None, recordings)
        found |= {path: stamp[:2] for path, stamp in looked.clips.items()}
        found |= dict.fromkeys(looked.rejected, _UNKNOWN)
        others += tree.others
    of_recordings = look_at(data, Tree(sorted(recordings))).clips
    found |= {path: of_recordings[file][:2] for path in known if (file := recording_of(path)) in of_recordings}
    return Changes(
        data,
        n_changed=sum(path in found and found[path] != stamp for path, stamp in known.items()),
        n_gone=len(known.keys() - found.keys()),
        n_new=len(found.keys() - known.keys()),
        others=dict(others),
        n_tables=n_tables,
    )


def _n_newer(cache: Cache, most: int) -> int:
    """Return how many tables are missing or newer than the cache; they are not read."""
    there = [path for path in cache.table_paths if path.exists()]
    made = cache.file.stat().st_mtime_ns
    try:
        newer = sum(file.stat().st_mtime_ns > made for file in tables(there, most))
    except OSError:
        newer = 1
    return newer + len(cache.header.tables) - len(there)
