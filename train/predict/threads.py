"""Work that threads do ahead, whose results come in order: recordings that are read, windows that are transformed."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from multiprocessing.pool import AsyncResult, ThreadPool
from queue import Empty, Queue
from threading import Event
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _End(NamedTuple):
    """The end of a stream, by an error or without one."""

    error: BaseException | None = None


def mapped(
    function: Callable[[Item], Result], items: Iterable[Item], threads: ThreadPool, n_ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the function's result for it, in order, while threads work on up to `n_ahead` others.

    An error of the items comes after all that were read before it.
    """
    left, end = iter(items), None
    at_work: deque[tuple[Item, AsyncResult[Result]]] = deque()
    while end is None or at_work:
        if end is None and len(at_work) <= n_ahead:
            try:
                item = next(left)
            except Exception as error:
                end = error
            else:
                at_work.append((item, threads.apply_async(function, (item,))))
        else:
            item, result = at_work.popleft()
            yield item, result.get()
    if not isinstance(end, StopIteration):
        raise end


def joined(streams: Iterator[Iterable[Item]], n_threads: int, n_ahead: int) -> Generator[Item | None]:
    """Yield the items of one stream after another, which are read ahead, and None before one that has to be waited for.

    Parameters
    ----------
    streams
        The streams, of which each thread reads one.
    n_threads
        How many are read at a time.
    n_ahead
        How many items of each may wait.
    """
    # Daemons: a thread that waits for a pipe must not keep the process from ending.
    threads, is_closed = ThreadPool(n_threads), Event()
    begun: deque[Queue[Item | _End]] = deque()

    def read(stream: Iterable[Item], read_items: "Queue[Item | _End]") -> None:
        try:
            for item in stream:
                read_items.put(item)
                if is_closed.is_set():
                    return
            read_items.put(_End())
        except BaseException as error:
            if not is_closed.is_set():
                read_items.put(_End(error))

    def begin_one() -> None:
        stream = next(streams, None)
        if stream is not None:
            begun.append(Queue(n_ahead))
            threads.apply_async(read, (stream, begun[-1]))

    try:
        for _ in range(n_threads):
            begin_one()
        while begun:
            try:
                item = begun[0].get_nowait()
            except Empty:
                yield None
                item = begun[0].get()
            if not isinstance(item, _End):
                yield item
                continue
            if item.error is not None:
                raise item.error
            begun.popleft()
            begin_one()
    finally:
        is_closed.set()
        threads.close()
        for items in begun:
            # A thread may wait for room.
            with suppress(Empty):
                items.get_nowait()
