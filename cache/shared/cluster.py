"""A Dask cluster that the user already has: the connection, and the check of software and files on its workers.

Only connected() imports distributed.
"""

import asyncio
import json
import logging
import os
import pickle
import re
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from cache.shared.cli import complain
from cache.shared.errors import UserError

T = TypeVar("T")

# Seconds to connect: the user gets an error within ten.
_CONNECT_SECONDS = 8.0

# Seconds for the scheduler to answer; after that it counts as gone, even if the connection is open.
_ANSWER_SECONDS = 60.0

# Seconds for which the scheduler's last answer counts.
_COUNT_SECONDS = 1.0


class Needs(NamedTuple):
    """The needs of every worker: exactly these versions of its software, and these files and folders to read.

    `software` is a function of a module, so that a worker calls its own copy.
    """

    software: Callable[[], dict[str, str]]
    versions: tuple[tuple[str, str], ...]
    paths: tuple[str, ...]


def needs_of(software: Callable[[], dict[str, str]], *paths: str | os.PathLike[str]) -> Needs:
    """Return the needs of work that depends on `software` in the versions of here, and on `paths` by these names."""
    return Needs(software, tuple(software().items()), tuple(os.path.abspath(path) for path in paths))  # noqa: PTH100


@contextmanager
def connected(scheduler: str, needs: Needs, notify: Callable[[str], None], dashboard: bool) -> Iterator["Cluster"]:
    """Connect to a scheduler that has at least one worker, for which this waits, and check the workers.

    Unfinished work is cancelled at the end. Raises a UserError if distributed is not installed, the scheduler cannot be
    reached, or a worker does not have what it needs.

    Parameters
    ----------
    scheduler
        Its address, such as tcp://host:8786 or tls://host:8786, or the scheduler file (.json) that it wrote. TLS takes
        its certificates from Dask's configuration.
    dashboard
        Print the address of Dask's dashboard on stderr.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        raise UserError(
            f"--scheduler needs {error.name}, which is not installed; install it with `pip install '.[cluster]'`"
        ) from None
    _silence()
    address = _address(scheduler)
    try:
        asyncio.run(_probe(address))
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except Exception as error:
        reason = (str(error) or "no answer that a scheduler would give").splitlines()[0]
        raise UserError(f"no Dask scheduler can be reached at {address!r} ({reason})") from None
    try:
        cluster = Cluster(client, address, notify)
        if dashboard:
            complain(f"dashboard: {client.dashboard_link}")
        while not cluster.workers():
            time.sleep(0.1)
        cluster.check(needs)
        cluster.gather_directly_if_possible()
        yield cluster
    finally:
        # The scheduler cancels work whose client has left.
        with suppress(Exception):
            client.close(timeout=1)


class Cluster:
    """An open connection; `client` is the distributed.Client."""

    def __init__(self, client: Any, address: str, notify: Callable[[str], None]) -> None:
        self.client, self._address, self._notify = client, address, notify
        self._workers: dict[str, int] = {}
        self._asked = -_COUNT_SECONDS
        self._waiting = False

    def workers(self) -> dict[str, int]:
        """Return the threads of every worker by its address, at most a second old; tell the user when there are none.

        Raises a UserError if the scheduler has gone.
        """
        if time.monotonic() - self._asked < _COUNT_SECONDS:
            return self._workers
        try:
            if self.client.status != "running":
                raise self.lost()
            self._workers = self.client.sync(self.client.scheduler.ncores, callback_timeout=_ANSWER_SECONDS)
        except (OSError, TimeoutError):
            raise self.lost() from None
        self._asked = time.monotonic() if self._workers else self._asked
        if not self._workers and not self._waiting:
            self._notify(f"the cluster at {self._address} has no workers; waiting for one")
        self._waiting = not self._workers
        return self._workers

    def executor(self, *workers: str) -> Executor:
        """Return an executor on the cluster that prefers the named workers; others take over when they die."""
        return _Executor(self.client, {"workers": list(workers), "allow_other_workers": True} if workers else {})

    def lost(self) -> UserError:
        """Return the error for a scheduler that has gone."""
        return UserError(f"the scheduler at {self._address} has gone; start it again, then run this again")

    def failed(self, error: BaseException) -> UserError:
        """Return the error of a task as one for the user."""
        if isinstance(error, CancelledError):
            return self.lost()
        if isinstance(error, UserError):
            return error
        worker = error.path if isinstance(error, ModuleNotFoundError) and error.path else "of the cluster"
        return UserError(f"worker {worker} {_in_words(error)}")

    def check(self, needs: Needs) -> None:
        """Raise a UserError that names the first worker that lacks something, and what."""
        answers = self.client.run(shortcoming, needs, on_error="return")
        bad = {worker: why for worker, answer in sorted(answers.items()) if (why := _words(answer))}
        if bad:
            worker, why = next(iter(bad.items()))
            more = f" ({len(bad) - 1} more workers of {len(answers)} are unfit)" if len(bad) > 1 else ""
            raise UserError(f"worker {worker} {why}{more}")

    def gather_directly_if_possible(self) -> None:
        """Fetch results from the workers directly if they can be reached from here, not through the scheduler."""
        place = urlsplit(next(iter(self.workers()), ""))
        with suppress(OSError, ValueError), socket.create_connection((place.hostname or "", place.port or 0), 2):
            self.client.direct_to_workers = True


class _Executor(Executor):
    """As `Client.get_executor`, but for workers that die just after they finish.

    If a result is lost on its way, that one takes the next result for an error, or never completes its future.
    """

    def __init__(self, client: Any, where: dict[str, Any]) -> None:
        self._client, self._where = client, where

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        there = self._client.submit(call, *args, **kwargs, **self._where, pure=False)
        return asyncio.run_coroutine_threadsafe(self._result(there), self._client.loop.asyncio_loop)

    async def _result(self, there: Any) -> Any:
        return await self._client.gather(there, asynchronous=True)


def shortcoming(needs: Needs) -> str:
    """Say what this worker lacks, in words that follow its name; "" for nothing."""
    here = needs.software()
    for name, version in needs.versions:
        if here[name] != version:
            return (
                f"has {name} {here[name]}, and this machine has {version};"
                " give both the same environment (requirements.lock)"
            )
    for path in needs.paths:
        try:
            if Path(path).is_dir():
                os.scandir(path).close()
            else:
                Path(path).open("rb").close()
        except OSError as error:
            return f"cannot read {path} ({error.strerror}); every worker must see it under this name"
    return ""


_fit: set[Needs] = set()


def check_this_worker(needs: Needs, again: bool = False) -> None:
    """Raise a UserError if the worker that runs this, which may have joined after the check, lacks something."""
    if needs in _fit and not again:
        return
    if why := shortcoming(needs):
        from distributed import get_worker

        raise UserError(f"worker {get_worker().address} {why}")
    _fit.add(needs)


def portable(call: Callable[[], T]) -> Callable[[], T]:
    """Return a call that a scheduler and a worker without our packages can unpickle, too.

    A message that they cannot read would end their connection. Instead the task fails, with a ModuleNotFoundError
    whose `path` is the worker.
    """
    packed = pickle.dumps(call)

    # A nested function is pickled by value, so it must not use a name of this module, not even in an annotation.
    def unpack_and_call() -> Any:
        import pickle

        from distributed import get_worker

        try:
            unpacked = pickle.loads(packed)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(str(error), name=error.name, path=get_worker().address) from None
        return unpacked()

    return unpack_and_call


def _in_words(error: BaseException) -> str:
    """Say why a task failed, in words that follow the name of its worker."""
    # The error of a missing package comes wrapped in other exceptions.
    if missing := re.search(r"No module named '(\w+)|No package metadata was found for (\w+)", str(error)):
        package = missing[1] or missing[2]
        return f"has no package {package}; install this project there with `pip install '.[cluster]'`"
    reason = (str(error) or "no reason given").splitlines()[0]
    return f"fails ({type(error).__name__}: {reason})"


def _words(answer: str | BaseException) -> str:
    # A worker that has left meanwhile does not matter.
    if isinstance(answer, OSError):
        return ""
    return answer if isinstance(answer, str) else _in_words(answer)


def _address(scheduler: str) -> str:
    if not scheduler.endswith(".json"):
        return scheduler
    # Not by distributed, which waits for a missing file for ever.
    try:
        return str(json.loads(Path(scheduler).read_bytes())["address"])
    except OSError as error:
        raise UserError(f"{scheduler}: the scheduler file cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{scheduler} is not the file that `dask scheduler --scheduler-file` writes") from None


async def _probe(address: str) -> None:
    # A client takes long to give up an address, and waits for ever for a server of another kind, such as the
    # dashboard's.
    from distributed.comm import connect
    from distributed.security import Security

    options = Security().get_connection_args("client")
    if address.startswith(("tls:", "wss:")) and not options.get("ssl_context"):
        raise ValueError("Dask's configuration names no certificates for TLS, see distributed.comm.tls")
    comm = await asyncio.wait_for(connect(address, timeout=_CONNECT_SECONDS, **options), _CONNECT_SECONDS)
    await comm.close()


def _silence() -> None:
    # A failure that matters is raised as an exception.
    warnings.filterwarnings("ignore", module=r"(dask|distributed|tornado)\b")
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("distributed", "tornado")]
    for logger in map(logging.getLogger, ("asyncio", *names)):
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
