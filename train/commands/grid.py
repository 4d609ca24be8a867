"""combinations(): the options of every run of a sweep, from what was given and a grid."""

import shlex
from dataclasses import fields
from itertools import product
from typing import Any

import typer

from train.commands.options import given, options_of
from train.fit.options import Options

# Once on, it cannot be switched off in one process, so it holds for all runs of a sweep or for none.
_NOT_VARIED = {"deterministic"}
_DEFAULT = "default"


def combinations(context: typer.Context, grid: str) -> list[Options]:
    """Combine each value of each key of a grid with each value of the others.

    Parameters
    ----------
    context
        Of a command that has the options of a fit; those that are not in the grid hold for every run.
    grid
        Words such as `seed=0,1,2`, quoted as in a shell: the name of an option of the command and its values, each
        checked as the command checks it. `default` stands for leaving the option out.

    Returns
    -------
    list of Options
        The last key varies fastest; what comes to the same options is there once.

    Raises
    ------
    typer.BadParameter
        The grid is not written so, a key is no option of a fit, or a value is none of it.
    """
    varied = _read(context, grid)
    names = [name.replace("-", "_") for name in varied]
    if both := sorted(given(context).intersection(names)):
        raise _bad(f"{_shown(both[0])} is given as an option too; leave out one of them")
    found = [options_of({**context.params, **dict(zip(names, row, strict=True))}) for row in product(*varied.values())]
    return list(dict.fromkeys(found))


def _read(context: typer.Context, grid: str) -> dict[str, list[Any]]:
    keys = {_shown(field.name): field.name for field in fields(Options) if field.name not in _NOT_VARIED}
    try:
        words = [word.partition("=") for word in shlex.split(grid)]
    except ValueError:
        raise _bad("a quotation mark is not closed") from None
    varied: dict[str, list[Any]] = {}
    for key, equals, values in words:
        if not equals:
            raise _bad(f"{key!r} has no values; write it like seed=0,1,2")
        if key not in keys:
            raise _bad(f"there is no key {key!r}; there is {', '.join(sorted(keys))}")
        if key in varied:
            raise _bad(f"{key} is there twice")
        varied[key] = [_value(context, keys[key], value) for value in values.split(",")]
    if not varied:
        raise _bad("it is empty; write it like 'model=baseline,compact seed=0,1,2'")
    return varied


def _value(context: typer.Context, name: str, value: str) -> Any:
    parameter = next(one for one in context.command.params if one.name == name)
    if value == _DEFAULT:
        return parameter.get_default(context)
    if not value:
        raise _bad(f"{_shown(name)} has an empty value; write it like seed=0,1,2")
    try:
        return parameter.process_value(context, value)
    except typer.BadParameter as error:
        raise _bad(f"{_shown(name)}={value}: {error.message}") from None


def _shown(name: str) -> str:
    return name.replace("_", "-")


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--grid")
