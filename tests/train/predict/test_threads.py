"""Threads that work ahead: results come in order, errors in their place, and streams are read side by side."""

from multiprocessing.pool import ThreadPool
from threading import Barrier

import pytest

from train.predict.threads import joined, mapped


def counted(n, error):
    yield from range(n)
    raise error


def keep(found, items):
    for item in items:
        found.append(item)  # extend() would keep nothing before an error


def test_results_come_in_order_and_an_error_of_the_items_after_all_before_it():
    found = []
    with pytest.raises(ValueError, match="the last"), ThreadPool(2) as threads:
        keep(found, mapped(lambda i: 10 * i, counted(20, ValueError("the last")), threads, 4))
    assert found == [(i, 10 * i) for i in range(20)]


def test_an_error_of_a_result_comes_in_its_place():
    found = []
    with pytest.raises(ZeroDivisionError), ThreadPool(2) as threads:
        keep(found, mapped(lambda i: 6 // (i - 2), range(9), threads, 4))
    assert found == [(0, -3), (1, -6)]


def test_streams_are_read_side_by_side_and_their_items_come_stream_by_stream():
    together = Barrier(3, timeout=10)

    def stream(name):
        together.wait()  # passes only while all three are read
        yield from (f"{name}{i}" for i in range(300))

    found = [item for item in joined(map(stream, "abc"), 3, 1000) if item is not None]
    assert found == [f"{name}{i}" for name in "abc" for i in range(300)]


def test_an_error_of_a_stream_is_raised_after_what_came_before_it():
    found = []
    streams = iter([range(5), counted(2, ValueError("broken")), range(10**9)])
    with pytest.raises(ValueError, match="broken"):
        keep(found, (item for item in joined(streams, 2, 3) if item is not None))
    assert found == [0, 1, 2, 3, 4, 0, 1]
