"""melcache-featurize, melcache-train and melcache-cache: the commands of an installed melcache.

A wheel holds this folder as the package `melcache`, a name that nobody else uses, so that these lines run even where
another package called cache, train or featurize stands before ours.
"""

import runpy
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path


def _run(package: str) -> None:
    for name in ("cache", "featurize", "train"):
        if problem := _foreign(name):
            print(f"melcache-{package}: {problem}", file=sys.stderr)
            sys.exit(1)
    runpy.run_module(package, run_name="__main__")


def _foreign(name: str) -> str:
    """Say which other package is found in the place of one of ours; "" if none is."""
    # In a wheel this folder lies beside the packages; in a checkout it lies within one of them.
    homes = Path(__file__).resolve().parents[1:3]
    spec = find_spec(name)
    if spec is None:
        return f"the package {name} is missing; install melcache again"
    found = Path(spec.origin or next(iter(spec.submodule_search_locations or [""]))).resolve()
    if any(found == home / name / "__init__.py" for home in homes):
        return ""
    return f"another {name} is in the way, {found}; rename it, or take its folder out of PYTHONPATH"


# The commands, as pyproject.toml names them: each does as `python -m` with its package.
featurize, train, cache = partial(_run, "featurize"), partial(_run, "train"), partial(_run, "cache")
