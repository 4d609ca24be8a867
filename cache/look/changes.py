"""changes(): whether DATA is still what a cache was made of, by sizes and times; no clip is opened."""

import os
import stat
from typing import Any, NamedTuple

from cache.file.reader import Cache
from cache.shared.text import printable
from cache.shared.walk import audio_names, is_utf8

Stamp = tuple[int, int]

# What featurize records of a clip that cannot even be looked at.
_UNKNOWN = (-1, -1)


class Changes(NamedTuple):
    """How DATA differs from what a cache knows of it.

    Attributes
    ----------
    data
        DATA, as an absolute path.
    n_changed
        Clips of another size or time than the cache has, or rejected ones that would be tried again.
    n_gone
        Clips that are not there any more.
    n_new
        Audio files in the class folders of which the cache knows nothing.
    reason
        Why all this is unknown, in words; "" if it is known.
    """

    data: str
    n_changed: int = 0
    n_gone: int = 0
    n_new: int = 0
    reason: str = ""

    @property
    def state(self) -> str:
        """One of unchanged, changed and unknown."""
        return "unknown" if self.reason else "changed" if self.n_changed or self.n_gone or self.n_new else "unchanged"


def changes(cache: Cache) -> Changes:
    """Compare the class folders of DATA with a cache.

    DATA is looked for where the cache says, from the folder that the cache is in. Of a cache that was made with
    `--max-per-class`, the clips that were left out count as new: a plain `python -m featurize` would add them.
    """
    # The inverse of os.path.relpath(), by which DATA is recorded: neither looks at links.
    data = os.path.abspath(cache.file.parent / cache.data_dir)  # noqa: PTH100
    known = _known(cache)
    found: dict[str, Stamp] = {}
    n_folders = 0
    for class_name in cache.class_names:
        folder = f"{data}/{class_name}"
        try:
            names = audio_names(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return Changes(data, reason=f"{folder} cannot be read ({error.strerror})")
        n_folders += 1
        for name in names:
            path = f"{class_name}/{name}"
            stamp = _stamp(f"{folder}/{name}")
            if not is_utf8(path):
                # As featurize names it and rejects it, unopened.
                found[printable(path)] = _UNKNOWN
            elif stamp is not None:
                found[path] = stamp
    if not n_folders:
        return Changes(data, reason="the class folders are not there; DATA or the cache was moved")
    return Changes(
        data,
        n_changed=sum(path in found and found[path] != stamp for path, stamp in known.items()),
        n_gone=len(known.keys() - found.keys()),
        n_new=len(found.keys() - known.keys()),
    )


def as_json(found: Changes) -> dict[str, Any]:
    """Return what `info --json` says of DATA."""
    unknown = found.reason != ""
    counts = {name: None if unknown else getattr(found, name) for name in ("n_changed", "n_gone", "n_new")}
    return {"folder": found.data, "state": found.state, **counts, "reason": found.reason or None}


def _known(cache: Cache) -> dict[str, Stamp]:
    known: dict[str, Stamp] = {}
    for columns, prefix in ((cache.columns, ""), (cache.rejected, "rejected_")):
        paths, sizes, times = (columns[prefix + name].tolist() for name in ("path", "size", "mtime_ns"))
        known |= zip((path.decode() for path in paths), zip(sizes, times, strict=True), strict=True)
    return known


def _stamp(path: str) -> Stamp | None:
    """Return size and time of a file, _UNKNOWN where it cannot be looked at, None where it is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return _UNKNOWN
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
