"""Errors that a user can read: what can be put right, and what was interrupted."""


class UserError(Exception):
    """Something the user can put right; the message is the one line they see."""


class CacheError(UserError):
    """A cache cannot be used, or cannot be written."""


class MissingCache(CacheError):
    """There is no file of that name."""


class DamagedCache(CacheError):
    """A file is a cache, or was to be one, but cannot be trusted."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; `kept` says what was saved and how to go on."""

    def __init__(self, signum: int, kept: str = "") -> None:
        super().__init__(signum)
        self.signum = signum
        self.kept = kept
