"""prefetched(): compute what comes next in a thread, while what is there is used."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

_PATIENCE = 0.1  # seconds until a full or empty queue is looked at again


class _End:
    """Comes after the last item, with the exception that ended them if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


@contextmanager
def prefetched(items: Iterable[T], n: int) -> Iterator[Iterator[T]]:
    """Give the items, of which up to `n` are computed ahead in a thread, until the end of the block.

    The thread is a daemon: one that waits for a pipe must not keep the process from ending.
    """
    queue: Queue[T | _End] = Queue(n)
    closed = Event()
    Thread(target=_fill, args=(items, queue, closed), daemon=True).start()
    try:
        yield _drain(queue)
    finally:
        closed.set()


def _fill(items: Iterable[T], queue: "Queue[T | _End]", closed: Event) -> None:
    end = _End()
    try:
        for item in items:
            _put(item, queue, closed)
            if closed.is_set():
                return
    except BaseException as error:
        end = _End(error)
    _put(end, queue, closed)


def _put(item: "T | _End", queue: "Queue[T | _End]", closed: Event) -> None:
    while not closed.is_set():
        try:
            queue.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return


def _drain(queue: "Queue[T | _End]") -> Iterator[T]:
    while True:
        try:
            # With a timeout, so that a signal is answered meanwhile.
            item = queue.get(timeout=_PATIENCE)
        except Empty:
            continue
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
