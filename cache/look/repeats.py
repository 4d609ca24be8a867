"""equal_content(): which clips of a cache hold the same bytes."""

from collections import defaultdict

import numpy as np

from cache.file.reader import Cache


def equal_content(cache: Cache) -> list[list[int]]:
    """Return the rows of the clips whose content is not theirs alone, a list for each content, in the cache's order."""
    _, which, counts = np.unique(cache.columns["sha256"], return_inverse=True, return_counts=True)
    by_content: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(counts[which] > 1).tolist():
        by_content[int(which[row])].append(row)
    return list(by_content.values())
