"""aside(): a call that another process makes meanwhile."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, TypeVar

from train.fitting.worker import Worker, free_memory

Result = TypeVar("Result")
# Lets a call be made during a block, and provides a function that waits for its result.
Aside: TypeAlias = Callable[[Callable[[], Any]], AbstractContextManager[Callable[[], Any]]]

# Bytes that are free before a second process is started: it takes 200 MB, and a fit about 900 MB.
_MEMORY = 2_000_000_000


@contextmanager
def aside(call: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Let a process of its own make a call during the block; the function that this provides waits for the result.

    That function raises the UserError that the call raised, or one of its own if the process ended.
    """
    worker, pool = Worker(), ThreadPoolExecutor(1)

    def answered() -> Result:
        try:
            return worker.call(call)
        finally:
            worker.end()  # at once, because of its memory

    try:
        yield pool.submit(answered).result
    finally:
        worker.process.kill()
        pool.shutdown()


def aside_if_idle() -> Aside | None:
    """Return aside() if a second process has a core and memory of its own, else None."""
    return aside if (os.cpu_count() or 1) > 1 and free_memory() > _MEMORY else None
