"""The process of a command: errors of one line, signals, notices, progress, `--quiet`, memory, and what C prints."""

import atexit
import ctypes
import faulthandler
import gc
import io
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cache.shared.errors import Interrupted, UserError
from cache.shared.text import printable

if TYPE_CHECKING:
    import typer
    from tqdm import tqdm

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Seconds from a signal to the exit, whatever the process is doing.
_PATIENCE = 1.0

# The signals that came during signals_held(), or None outside of it.
_held: list[int] | None = None

# Set by .completion.bash to ask what could come next; an installed command has typer's own name for it.
_COMPLETE = "_MELCACHE_COMPLETE"

# Which extra of melcache brings a library that not every installation has.
_EXTRAS = dict.fromkeys(("jinja2", "keras", "librosa", "onnx", "scipy", "sklearn", "tensorflow"), "train")

# The parameters of glibc's mallopt(), from malloc.h, and their value in bytes: more than a clip that is read whole, or
# a batch of clips, takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20

# Whether --quiet was given.
_quiet = False


def called(package: str) -> str:
    """Return how the user starts a command: `melcache-train` if one that is installed runs, else `python -m train`."""
    is_installed = os.path.basename(sys.argv[0]).startswith("melcache-")  # noqa: PTH119
    return f"melcache-{package}" if is_installed else f"python -m {package}"


def command_line(package: str, *words: str | Path) -> str:
    """Return a command for the user to type, which a shell takes apart into these words."""
    return " ".join([called(package), *map(_quoted, words)])


def _quoted(word: str | Path) -> str:
    # A path that begins with a dash would be an option.
    return shlex.quote(f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word))


def leave_on_signals(name: str, kept: str = "") -> None:
    """From now on, end at SIGINT and SIGTERM with one line and the exit code 128 + the signal, at once.

    This is for the time while a command is being imported, and after it has ended. `name` is the command as the user
    typed it, and `kept` says in words which work is saved at any time, and how to continue it.
    """
    for signum in _SIGNALS:
        signal.signal(signum, lambda signum, _frame: _leave(name, signum, kept))
    _outlast_handlers()
    _complete_streams()


@cache
def _outlast_handlers() -> None:
    """Block signals at the end of the interpreter, which takes its handlers away before the process ends.

    This is registered once, first: exit functions that are registered later run earlier, and can be interrupted.
    """
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, _SIGNALS)


def _complete_streams() -> None:
    """Open the standard streams that are closed on /dev/null, and let the others write any name."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Otherwise the name of a folder that is not UTF-8 would end a command after all its work.
            stream.reconfigure(errors="backslashreplace")


def run(app: "typer.Typer", name: str, kept: str = "") -> NoReturn:
    """Run a command to its exit code: 0, 1 for an error, 2 for bad usage, 128 + the signal when interrupted.

    See `leave_on_signals`; `Interrupted.kept` takes the place of `kept`.
    """
    leave_on_signals(name, kept)
    sys.unraisablehook = _all_but_interrupts
    try:
        for signum in _SIGNALS:
            signal.signal(signum, _interrupt(name, kept))
        code = _exit_code(app, name)
        leave_on_signals(name, kept)
    except Interrupted as error:
        with suppress(OSError):
            sys.stdout.flush()
        _leave(name, error.signum, error.kept or kept)
    # The interpreter would look for garbage among all objects once more before they go.
    gc.freeze()
    sys.exit(code)


@contextmanager
def signals_held() -> Iterator[None]:
    """Delay signals to the end of the block, for a library whose callbacks cannot raise.

    Raises an Interrupted if a signal came during the block.
    """
    global _held
    _held = []
    try:
        yield
    finally:
        came, _held = _held, None
        if came:
            raise Interrupted(came[0])


def signal_came() -> bool:
    """Whether a signal waits for the end of signals_held()."""
    return bool(_held)


def _exit_code(app: "typer.Typer", name: str) -> int:
    from typer.exceptions import TyperException

    installed = name.replace("-", "_").upper()
    complete = f"_{installed}_COMPLETE" if installed.isidentifier() else _COMPLETE
    if complete in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # it lacks __all__

        completion_init()
    try:
        code = app(standalone_mode=False, prog_name=name, complete_var=complete) or 0
        sys.stdout.flush()
        return code
    except TyperException as error:
        message, context = getattr(error, "format_message", error.__str__)(), getattr(error, "ctx", None)
        if "\n" in message and context is not None and message == context.get_help():
            # A command that says what it can do where no argument says what to do.
            print(message, file=sys.stderr)
            return 2
        where = getattr(context, "command_path", name)
        complain(f"{name}: {message} (see `{where} --help`)")
        return int(getattr(error, "exit_code", 2))
    except UserError as error:
        complain(f"{name}: {error}")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in _EXTRAS:
            raise
        install = f"pip install 'melcache[{_EXTRAS[library]}]'"
        complain(f"{name}: this needs {library}, which is not installed; install it with `{install}`")
    except OSError as error:
        # `| head` closes our output, which is not an error to the user.
        if not isinstance(error, BrokenPipeError):
            complain(f"{name}: {error.filename or 'input/output'}: {error.strerror or error}")
        _drop_stuck_output()
    return 1


def _drop_stuck_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # At exit, Python flushes once more, and would print another error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(name: str, kept: str) -> Callable[[int, object], None]:
    main = os.getpid()

    def interrupt(signum: int, _frame: object) -> None:
        # In a worker that was just forked; the main process prints the line.
        if os.getpid() != main:
            os._exit(128 + signum)
        for other in _SIGNALS:
            # Not SIG_IGN, with which Python complains about a signal that has already arrived.
            signal.signal(other, lambda *_: None)
        # A callback or a destructor can swallow the exception, and a clean-up can take long.
        signal.signal(signal.SIGALRM, lambda *_: _leave(name, signum, kept))
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
        if _held is not None:
            _held.append(signum)
            return
        raise Interrupted(signum)

    return interrupt


def _leave(name: str, signum: int, kept: str) -> NoReturn:
    # Another signal would print another line.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    line = printable(f"{name}: interrupted" + (f"; {kept}" if kept else "")) + "\n"
    # Not print(), which the signal may have interrupted.
    with suppress(OSError):
        os.write(sys.stderr.fileno(), line.encode("utf-8", "backslashreplace"))
    # Without waiting for workers, which may be inside a decoder: all finished work is on disk.
    os._exit(128 + signum)


def _all_but_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)


def complain(line: str) -> None:
    """Print one line on stderr, with characters escaped that could end the line or move the cursor."""
    print(printable(line), file=sys.stderr, flush=True)


def be_quiet(quiet: bool) -> None:
    """Set `--quiet`: only errors and the results that were asked for are shown from now on."""
    global _quiet
    _quiet = quiet


def notice(line: str) -> None:
    """Print a line that is not an error on stderr, unless `--quiet` was given."""
    if not _quiet:
        complain(line)


def summarise(text: str) -> None:
    """Print a summary on stdout, unless `--quiet` was given."""
    if not _quiet:
        print(text)


def is_watched() -> bool:
    """Whether somebody sees progress: stderr is a terminal or a notebook, and `--quiet` was not given."""
    return not _quiet and (sys.stderr.isatty() or in_notebook())


def in_notebook() -> bool:
    """Whether this code runs in a kernel of Jupyter."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def progress_bar(total: int, **settings: Any) -> "tqdm[Any]":
    """Return tqdm's bar on stderr that disappears at its end; in a notebook it is a widget, if there are widgets."""
    if in_notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there are no widgets, a line of text does
            from tqdm.auto import tqdm
    else:
        from tqdm import tqdm
    # No thread that watches the bar: a process with threads cannot be forked when a worker died.
    tqdm.monitor_interval = 0
    return tqdm(total=total, leave=False, disable=not is_watched(), file=sys.stderr, **settings)


def keep_freed_memory() -> None:
    """Let malloc keep freed memory: new memory from the system takes as long as the computation in it."""
    with suppress(OSError, AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


def silence_libraries() -> None:
    """Send file descriptors 1 and 2 nowhere, while `sys.stdout` and `sys.stderr` write where they did before.

    mpg123 reports damaged frames on descriptor 2, and libsndfile prints parts of a Sample Dump file on descriptor 1.
    Streams that a notebook or a test put in place of Python's own are not changed.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            if stream is None or stream.fileno() != descriptor:
                continue
        except OSError:  # such a stream has no descriptor
            continue
        stream.flush()
        buffering = 1 if stream.line_buffering else -1
        ours = os.fdopen(os.dup(descriptor), "w", buffering, stream.encoding, stream.errors, "\n")
        setattr(sys, name, ours)
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    if faulthandler.is_enabled():
        faulthandler.enable()
