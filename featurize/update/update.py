"""build(): bring a cache up to date: resolve the request, plan, compute what is new, publish."""

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cache.file.journal import journal_paths
from cache.file.reader import Cache
from cache.labels.annotation import Problem
from cache.shared.errors import UserError
from cache.shared.files import as_path, locked
from cache.shared.options import checked, checked_value, takes_options
from featurize.audio.find import Found
from featurize.features.profiles import Wish, asked_settings
from featurize.update.options import Options, class_list, table_list
from featurize.update.plan import Corrections, correct, corrections_of, is_published, make_plan, why_recompute
from featurize.update.request import Request, resolve


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The outcome of a run."""

    cache: Cache  # the cache that it left, open
    file: Path  # that cache as the user names it, while `cache.file` is where it really is
    found: Found  # the clips, and everything else that was found in DATA
    problems: Sequence[Problem]  # labels that were skipped, and other remarks on lines of tables
    # Clips that were computed, that were there already, and that have gone.
    n_computed: int
    n_reused: int
    n_removed: int
    seconds: float  # how long it took
    names_crop: bool = False  # whether the user said how long clips become rows

    def __repr__(self) -> str:
        counts = f"{self.n_computed} computed, {self.n_reused} reused, {self.n_removed} removed"
        return f"<Result: {counts}, {self.cache!r}>"


@takes_options(Options)
def build(
    data: str | os.PathLike[str] = "data",
    cache_file: str | os.PathLike[str] | None = None,
    classes: str | Sequence[str] = (),
    *,
    labels: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    settings: Wish = None,
    n_jobs: int = 1,
    notify: Callable[[str], None] | None = None,
    **chosen: object,
) -> Result:
    """Bring a cache up to date with the clips in DATA, and compute no more than that takes.

    Its other arguments are the options of `python -m featurize`. Arguments that are None or empty stay as the cache
    remembers them; a column that is "" is one of the usual ones. Raises a UserError if the clips or the cache cannot be
    used as they are. The old cache is as it was then, and finished rows are kept for the next run.

    Parameters
    ----------
    data
        The folder that holds a folder of clips per class, or recordings that have labels.
    cache_file
        The HDF5 file to make or to bring up to date; None: `features.h5` in DATA.
    classes
        Names of class folders or labels, in the order of their label index; "all": every folder with audio in it and
        every label; "dog=rex+fido": the folders or labels rex and fido as the class dog. Without a cache to remember
        them, the classes are the labels, if there are any; otherwise dog, cat and bird where they are all there, and
        else every folder.
    labels
        Label tables and folders of them, in addition to those of the cache; "none" first: instead of them.
    settings
        The feature settings: some by name, such as {"sr": 48000, "fmax": 24000}, all of them as MelSettings, or the
        name of a profile, such as "bats". Without a cache to remember them they are the project's contract.
    n_jobs
        Worker processes.
    notify
        Takes notices for the user, a line each; None: they are warnings.
    """
    folder = as_path(data, "data")
    caller = sys._getframe(2)  # behind the one that takes_options() makes
    options = Options(
        data=folder,
        cache_file=folder / "features.h5" if cache_file is None else as_path(cache_file, "cache_file"),
        classes=class_list(classes),
        labels=table_list(labels),
        settings=asked_settings(settings),
        n_jobs=checked_value("n_jobs", n_jobs, int, 1),
        notify=notify or _warning_for(caller.f_code.co_filename, caller.f_lineno),
        announce=notify or (lambda line: None),
        **checked(Options, chosen),
    )
    if options.dashboard and options.scheduler is None:
        raise UserError("only a cluster has a dashboard; name the cluster's scheduler")
    return _updated(options)


def _warning_for(file: str, line: int) -> Callable[[str], None]:
    """Return a function that gives each notice as a warning at a line of the caller's code."""
    return lambda text: warnings.warn_explicit(text, UserWarning, file, line)


def _updated(options: Options) -> Result:
    """Make the cache hold exactly the clips that are asked for."""
    started = time.perf_counter()
    request = resolve(options, options.notify)
    corrections = corrections_of(request.cache_file, request.header.class_names, options.notify)
    if _is_done(request, corrections):
        assert request.old is not None
        n_computed, cache = 0, request.old
    else:
        request, n_computed, cache = _update(request)
    old = request.old
    is_new = old is not None and old is not cache
    n_removed = len(set(old.clip_paths).difference(cache.clip_paths)) if old is not None and is_new else 0
    n_reused, seconds = cache.n_clips - n_computed, time.perf_counter() - started
    names_crop = options.crop is not None
    counts = n_computed, n_reused, n_removed
    return Result(cache, options.cache_file, request.found, request.problems, *counts, seconds, names_crop)


def _is_done(request: Request, corrections: Corrections) -> bool:
    """Whether the cache is already what is asked for, and nothing lies beside it."""
    if request.old is None or any(path.exists() for path in journal_paths(request.cache_file)):
        return False
    plan = make_plan(request.found, request.old, None, request.options.rehash, corrections, request.header.cropping)
    plan = correct(plan, corrections, request.old, None)
    return not why_recompute(request.old, request.header) and is_published(plan, request.old, request.header)


def _update(request: Request) -> tuple[Request, int, Cache]:
    """Update the cache while no other run may; return the final request, the number of clips computed, the cache."""
    # A run that finds nothing to do need not load this.
    from featurize.update.compute import update_alone

    options, file = request.options, request.cache_file
    lock = file.with_name(file.name + ".lock")
    remedy = "let it finish, or wait for it with --wait"
    try:
        with locked(lock, f"is writing {file}", remedy, options.notify, options.wait) as waited:
            if waited or request.is_stale:
                # Another run replaced the cache, and the clips may have changed since.
                request = resolve(options, lambda line: None)
            return update_alone(request)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(cache_file: Path, error: OSError) -> UserError:
    what_to_do = "put that right"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what_to_do = "make room"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what_to_do = "make its folder writable or choose another place with --cache"
    return UserError(
        f"{cache_file} cannot be written ({error.strerror or error}); {what_to_do} and run it again:"
        " the old cache, if there is one, is whole, and finished clips are kept"
    )
