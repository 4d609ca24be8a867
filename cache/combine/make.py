"""make(): write chosen clips as a cache: their rows are copied as bytes, and the file is there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from cache.combine.carried import carried, corrections_beside
from cache.combine.chosen import Chosen, in_order
from cache.file.columns import COLUMNS
from cache.file.publish import publish_copies
from cache.file.reader import Cache
from cache.shared.errors import UserError
from cache.shared.files import as_path, locked, refuse_existing
from cache.shared.text import printable


def place_of(out: str | os.PathLike[str]) -> Path:
    """Return the file that is to be made, where there must be none yet."""
    file = as_path(out, "out")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is not a folder; make it, or give another --out")
    refuse_existing(file, "--out")
    return file.resolve()


def make(chosen: Chosen, out: Path, notify: Callable[[str], None]) -> Cache:
    """Write the clips in the order of featurize, at most as many of each class as the header says.

    Raises a UserError if a class has no clip, corrections do not agree with the clips, or the file cannot be written;
    nothing is left of it then.
    """
    chosen = in_order(chosen)
    rows = chosen.rows
    there = {*chosen.labels[rows].tolist()}
    if empty := [name for label, name in enumerate(chosen.header.class_names) if label not in there]:
        raise UserError(f"no clip is left of {', '.join(map(printable, empty))}; leave the class out")
    columns = {name: chosen.columns[name][rows] for name in COLUMNS}
    columns["corrected"] = ((columns["corrected"] > 0) * (1 + chosen.found_in[rows])).astype("<i4")
    try:
        with locked(out.with_name(out.name + ".lock"), f"is writing {out}", "give another --out", notify):
            place_of(out)
            with carried(corrections_beside(chosen.caches, notify), chosen, out):
                return publish_copies(
                    out, chosen.header, columns, chosen.labels[rows], rows, chosen.caches, chosen.rejected, notify
                )
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}); nothing is left of it") from error
