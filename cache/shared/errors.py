"""Errors whose message is for the user, and the interrupt."""


class UserError(Exception):
    """An error that the user can correct; its message is the one line they see."""


class CacheError(UserError):
    """A cache cannot be used, or cannot be written."""


class MissingCache(CacheError):
    """There is no file of that name."""


class DamagedCache(CacheError):
    """A file is a cache, or was to become one, but cannot be trusted."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; `kept` says in words which work is saved and how to continue it."""

    def __init__(self, signum: int, kept: str = "") -> None:
        super().__init__(signum)
        self.signum = signum
        self.kept = kept


def reason_in(error: Exception) -> str:
    """Return what the system or another library says in its exception, on one line; its type if it says nothing."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    return (said or type(error).__name__).splitlines()[0]
