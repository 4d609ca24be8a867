"""What two caches have in common."""

from cache import Cache


def assert_same(cache: Cache, expected: Cache) -> None:
    """Every row, label and name is the same, to the bit."""
    assert cache.paths == expected.paths
    assert cache.X.tobytes() == expected.X.tobytes()
    assert cache.y.tobytes() == expected.y.tobytes()
    assert cache.fingerprint == expected.fingerprint
