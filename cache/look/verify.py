"""Read every row of X and check it: the metadata has been checked when the cache was opened."""

import zlib

import numpy as np

from cache.file.layout import CacheError
from cache.file.reader import Cache
from cache.shared.text import printable


def check_rows(cache: Cache) -> int:
    """Check every row's crc32 and range.

    Returns
    -------
    int
        How many rows there are.

    Raises
    ------
    CacheError
        A row's bytes are not those that were written, or its values are not within [0, 1]; names the first one's clip.
    """
    damaged = [i for i, expected in enumerate(cache.columns["crc32"].tolist()) if not _is_whole(cache, i, expected)]
    if damaged:
        path = printable(cache.columns["path"][damaged[0]].decode())
        raise CacheError(
            f"{cache.file}: {len(damaged)} of {len(cache)} rows are damaged, the first is row {damaged[0]} ({path});"
            " delete the file and make it anew with `python -m featurize`"
        )
    return len(cache)


def _is_whole(cache: Cache, i: int, expected: int) -> bool:
    row = cache.X[i]
    # NaN fails every comparison, so it is caught here too.
    return zlib.crc32(np.ascontiguousarray(row).data) == expected and bool((row >= 0).all() and (row <= 1).all())
