"""Remarks on clips that have a row all the same: that they are cut short, silent where they are used, or the like."""

from cache.file.layout import CUT_SHORT
from cache.file.reader import Cache


def remarks(cache: Cache) -> list[tuple[str, str]]:
    """Return (path, remark) of every clip of which there is something to say."""
    pairs = zip(cache.columns["path"].tolist(), cache.columns["remark"].tolist(), strict=True)
    return [(path.decode(), remark.decode()) for path, remark in pairs if remark]


def n_cut_short(cache: Cache) -> int:
    """Return how many clips are shorter than their header states."""
    return sum(remark.startswith(CUT_SHORT) for _, remark in remarks(cache))
