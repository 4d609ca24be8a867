"""What every command does at the terminal: an error is one line, a name is shown escaped, a size is in human units."""

import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer


class UserError(Exception):
    """Something the user can put right; the message is the one line they see."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; `kept` says what was saved and how to go on."""

    def __init__(self, signum: int, kept: str = "") -> None:
        super().__init__(signum)
        self.signum = signum
        self.kept = kept


def run(app: "typer.Typer", name: str) -> NoReturn:
    """Run a command to its exit code: 0, 1 for an error, 2 for bad usage, 128 + the signal when interrupted.

    Parameters
    ----------
    app
        The typer application.
    name
        What the user typed to start it, such as "python -m featurize".
    """
    from typer.exceptions import TyperException

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    try:
        code = app(standalone_mode=False, prog_name=name)
    except TyperException as error:
        message = getattr(error, "format_message", error.__str__)()
        complain(f"{name}: {message} (see `{name} --help`)")
        code = getattr(error, "exit_code", 2)
    except UserError as error:
        complain(f"{name}: {error}")
        code = 1
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    except OSError as error:
        complain(f"{name}: {error.filename or 'input/output'}: {error.strerror or error}")
        code = 1
    except Interrupted as error:
        complain(f"{name}: interrupted" + (f"; {error.kept}" if error.kept else ""))
        # Worker threads may be deep in a decoder; everything kept is on disk, so nobody waits for them.
        sys.stdout.flush()
        os._exit(128 + error.signum)
    sys.exit(code or 0)


def _interrupt(signum: int, _frame: object) -> NoReturn:
    raise Interrupted(signum)


def complain(line: str) -> None:
    """Print one line on stderr, with every character escaped that could end it or move the cursor."""
    print(printable(line), file=sys.stderr, flush=True)


def printable(name: str) -> str:
    r"""Return `name` with everything escaped that could move a cursor or end a line.

    Bytes that are not UTF-8 (surrogates, as `os.fsdecode` makes them) come out as ``\udcXX``.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def human_size(n_bytes: float) -> str:
    """Return a number of bytes as people write it: 999 B, 12.3 MB, 1.3 GB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration as people write it: 0.42 s, 12.3 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
