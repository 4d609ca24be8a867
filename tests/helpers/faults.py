"""Runs of `python -m featurize` that are killed, interrupted or refused at the n-th call that changes a file.

As a program, this has the command loaded and forks it for every line of JSON on stdin: a process of its own and a real
signal each time, without half a second of imports.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests import ROOT

CHANGING = ("open", "write", "pwrite", "ftruncate", "copy_file_range", "fsync", "fdatasync", "replace", "unlink")
WRITING = ("write", "pwrite", "copy_file_range")


class Run(NamedTuple):
    """The end of a run: exit code (-n for signal n), what it printed, and every changing call it made, in order."""

    code: int
    out: str
    err: str
    calls: list

    @property
    def complaints(self):
        """The lines on stderr, without the one that says how much there is to do."""
        return [line for line in self.err.splitlines() if " to compute; needs up to" not in line]


def break_call(number, how, log):
    """Let call `number` (from 1) of `CHANGING` meet its fate; 0 lets all pass.

    how: "kill" before the call; "kill-half" after it, or with half of the bytes written; the name of a signal, sent
    before the call; the name of an errno that the call fails with (a full disk stays full); "half-" and the name of
    an errno: half of the bytes are written, and then it fails.
    """
    n_calls = 0
    fails_from_now_on = 0
    really = {name: getattr(os, name) for name in CHANGING}

    def broken(name, *args, **options):
        nonlocal n_calls, fails_from_now_on
        if name == "open" and not args[1] & os.O_CREAT:
            return really[name](*args, **options)
        if (name == "write" and args[0] <= 2) or "pym-" in _target(args):
            return really[name](*args, **options)  # to the terminal, or the memory that workers share
        n_calls += 1
        really["write"](log, f"{name} {_target(args)}\n".encode())
        if fails_from_now_on and name in WRITING:
            raise OSError(fails_from_now_on, os.strerror(fails_from_now_on))
        if n_calls != number:
            return really[name](*args, **options)
        if how.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, how))
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "kill-half":
            with suppress(OSError):
                really[name](*(_half(name, args) or args), **options)
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, how.removeprefix("half-"), 0)
        if how.startswith("half-") and (half := _half(name, args)):
            fails_from_now_on = code
            return really[name](*half)
        if code:
            fails_from_now_on = code if code != errno.EIO else 0
            raise OSError(code, os.strerror(code))
        return really[name](*args, **options)

    for name in CHANGING:
        setattr(os, name, lambda *args, name=name, **options: broken(name, *args, **options))


def _half(name, args):
    if name in ("write", "pwrite"):
        return args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:]
    if name == "copy_file_range":
        return *args[:2], args[2] // 2, *args[3:]
    return None


def _target(args):
    file = args[1] if len(args) > 1 and isinstance(args[1], str | Path) else args[0]
    return (Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)).name


@contextmanager
def forked_runs():
    """Yield run(*arguments, number=0, how="kill") -> Run.

    With "kill after SECONDS" as `how`, the run is killed from outside, so long after its journal had `number` lines.
    """
    command = [sys.executable, "-m", "tests.helpers.faults"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:

        def run(*arguments, number=0, how="kill"):
            server.stdin.write(json.dumps([list(map(str, arguments)), number, how]) + "\n")
            server.stdin.flush()
            return Run(*json.loads(server.stdout.readline()))

        yield run
        server.stdin.close()


def load_command():
    """Import the command and all that is imported only on the way, and compile its kernel."""
    import filelock

    from cache.file.settings import MelSettings
    from cache.shared.errors import UserError
    from featurize import __main__
    from featurize.features import row as mel
    from featurize.update import compute, summary

    # The sources, and what typer needs to take options.
    assert compute
    assert filelock
    assert summary
    mel.prepare(MelSettings())
    silence, __main__.silence_libraries = __main__.silence_libraries, lambda: None
    with suppress(UserError):
        __main__.app(["no-such-folder"], standalone_mode=False)
    __main__.silence_libraries = silence


def _serve():
    load_command()
    folder = tempfile.mkdtemp()
    files = [Path(folder, name) for name in ("out", "err", "calls")]
    for line in sys.stdin:
        for file in files:
            file.write_bytes(b"")
        pid = os.fork()
        if pid == 0:
            return _become(*json.loads(line), *files)
        status = _end_of(pid, *json.loads(line))
        out, err, calls = (file.read_text() for file in files)
        print(json.dumps([os.waitstatus_to_exitcode(status), out, err, calls.splitlines()]), flush=True)
    shutil.rmtree(folder)
    return None


def _end_of(pid, arguments, number, how):
    """Wait for a run, or kill it at its moment; return its status."""
    if not how.startswith("kill after"):
        return os.waitpid(pid, 0)[1]
    journal = Path(arguments[arguments.index("--cache") + 1] + ".partial.journal")
    while lines_in(journal) < number:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.0005)
    time.sleep(float(how.split()[-1]))
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def lines_in(journal):
    try:
        return journal.read_bytes().count(b"\n")
    except FileNotFoundError:  # not there yet, or gone with the publishing
        return 0


def _become(arguments, number, how, out, err, calls):
    os.close(0)
    for number_of_file, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY), number_of_file)
    signal.alarm(30)  # a hang is a failure, not a long wait
    if not how.startswith("kill after"):
        break_call(number, how, os.open(calls, os.O_WRONLY | os.O_APPEND))
    sys.argv = ["featurize", *arguments]
    from cache.shared.cli import run
    from featurize.__main__ import KEPT, app

    try:
        run(app, "python -m featurize", KEPT)
    except SystemExit as end:
        # Taking this interpreter apart would cost more than the run.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)


if __name__ == "__main__":
    _serve()
