"""Options: all that decides a fit but the cache. Type, default, help and bounds of each option stand here alone."""

import functools
import inspect
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from inspect import Parameter
from numbers import Integral, Real
from types import NoneType
from typing import Any, TypeAlias, TypeVar, get_args, get_type_hints

from cache.shared.errors import UserError

Option: TypeAlias = "Field[Any]"
_Function = TypeVar("_Function", bound=Callable[..., object])


class ClassWeight(StrEnum):
    """How clips are weighted in the loss."""

    balanced = "balanced"


def _model_names() -> list[str]:
    from train.models.recipes import RECIPES

    return list(RECIPES)


def _option(default: Any, help: str, **how: Any) -> Any:
    return field(default=default, metadata={"help": help, **how})


@dataclass(frozen=True, kw_only=True)
class Options:
    """All that decides a fit, besides the cache.

    A new option is a field here: it becomes an argument of fit() and crossval(), an option of `fit`, `crossval` and
    `sweep`, a key of a sweep's grid, and an entry of `run.json`. A field's metadata are the arguments of typer.Option,
    and `flag` where the option is not called as the field. A field without a default has that of the model.
    """

    model: str = _option(
        "baseline",
        "Which model; `python -m train summary` shows its layers.",
        autocompletion=_model_names,
    )
    epochs: int = _option(
        MISSING,
        "How often to go through all training clips.",
        min=1,
        show_default="the model's: 15 for baseline; for compact 54 for 500 clips, 12 for 20,000",
    )
    batch_size: int = _option(32, "Clips per optimiser step.", min=1)
    learning_rate: float | None = _option(None, "Learning rate of the optimiser.", min=0, show_default="the model's")
    # NumPy takes no larger seed.
    seed: int = _option(0, "Decides the split, the order of clips, the first weights.", min=0, max=2**32 - 1)
    val: float = _option(
        MISSING,
        "Share of clips that choose the epoch to keep.",
        min=0,
        max=0.9,
        show_default="the model's: 0.15 for baseline, 0 for compact",
    )
    test: float = _option(0.15, "Share of clips for the final score.", min=0, max=0.9)
    group_by: str | None = _option(
        None,
        "Clips for which the (group) captures the same text stay in the same subset of the split.",
        metavar="REGEX",
        show_default="speaker or recording where the file names tell it",
    )
    class_weight: ClassWeight | None = _option(  # noqa: RUF009 - it makes a field
        None, "`balanced`: a rare class counts as much as a frequent one."
    )
    patience: int | None = _option(None, "Stop after N epochs without a better one.", min=1, metavar="N")
    deterministic: bool = _option(False, "The same weights to the bit from the same seed; slower.")
    split_file: str | None = _option(
        None,
        "CSV with `path` and `split` that says where each clip goes, such as a run's split.csv; `random`: ignore "
        "folders called train, val and test.",
        flag="--split",
        metavar="FILE",
        show_default="train, val, test folders if DATA has them",
    )
    val_list: str | None = _option(None, "Text file with the path of a validation clip a line.", metavar="FILE")
    test_list: str | None = _option(None, "Text file with the path of a test clip a line.", metavar="FILE")


OPTIONS: dict[str, Option] = {one.name: one for one in fields(Options)}
KINDS: dict[str, Any] = get_type_hints(Options)


def checked(chosen: Mapping[str, object]) -> dict[str, Any]:
    """Return options by name, each of its type; numbers may be NumPy's, and paths may be pathlib's.

    Raises a UserError if a value is not of the option's type, outside its bounds, or not the name of a model.
    """
    from train.models.recipes import recipe

    values: dict[str, Any] = {}
    for name, value in chosen.items():
        one = OPTIONS[name]
        if value is None and default_of(one) is None:
            values[name] = None
        else:
            kind = next(kind for kind in (*get_args(KINDS[name]), KINDS[name]) if kind is not NoneType)
            values[name] = checked_value(name, value, kind, one.metadata.get("min"), one.metadata.get("max"))
    recipe(str(values.get("model", Options.model)))
    return values


def checked_value(name: str, value: Any, kind: Any, least: float | None = None, most: float | None = None) -> Any:
    """Return an argument as its type; a UserError if it is not one, or outside of its bounds."""
    if issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
        expected = " or ".join(repr(str(one)) for one in kind)
    elif kind is str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(text, str):
            return text
        expected = "text"
    elif kind is bool:
        if isinstance(value, bool):
            return value
        expected = "True or False"
    else:
        is_number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        low, high = (-math.inf if least is None else least), (math.inf if most is None else most)
        if is_number and math.isfinite(value) and low <= value <= high:
            return kind(value)
        bounds = f" from {least} to {most}" if most is not None else "" if least is None else f" of at least {least}"
        expected = f"a {'whole number' if kind is int else 'number'}{bounds}"
    raise UserError(f"{name} is {value!r}; it must be {expected}")


def options_of(n_clips: int, **chosen: object) -> Options:
    """Return the options of a fit on so many clips; `epochs` and `val` are the model's own if they are missing or None.

    Raises a UserError as checked() does, and a TypeError if there is no such option.
    """
    from train.models.recipes import default_epochs, recipe

    values = checked(chosen)
    own = recipe(values.get("model", Options.model))
    epochs = default_epochs(own, n_clips, values.get("batch_size", Options.batch_size))
    unset = {"epochs": epochs, "val": own.val}
    return Options(**values | {name: value for name, value in unset.items() if values.get(name) is None})


def idle_patience(options: Options, has_validation: bool) -> list[str]:
    """Say that patience has no effect, if no clips say which epoch is better."""
    if options.patience is None or has_validation:
        return []
    return [
        "--patience has no effect: there are no validation clips to say which epoch is better; ask for some by --val"
    ]


def warn_caller(line: str) -> None:
    """Give a warning of Python at the line that called fit() or crossval()."""
    warnings.warn(line, UserWarning, stacklevel=4)


def default_of(one: Option) -> Any:
    """Return the value of an option that is not given; None also stands for a default of the model."""
    return None if one.default is MISSING else one.default


def argument_of(one: Option) -> Any:
    """Return the type of an option as an argument: None, too, where that stands for a default."""
    return KINDS[one.name] | None if default_of(one) is None else KINDS[one.name]


def takes_options(*without: str, annotate: Callable[[Option], Any] = argument_of) -> Callable[[_Function], _Function]:
    """Put the options of a fit, except some, into a function's signature, behind its positional arguments.

    The annotation of an argument is made by `annotate`; a command's are typer's.
    """
    options = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=default_of(one), annotation=annotate(one))
        for one in OPTIONS.values()
        if one.name not in without
    ]

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        kept = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        n = sum(one.kind is not Parameter.KEYWORD_ONLY for one in kept)
        signature = own.replace(parameters=[*kept[:n], *options, *kept[n:]])

        @functools.wraps(function)
        def called(*arguments: object, **named: object) -> object:
            signature.bind(*arguments, **named)  # its TypeError names an argument that does not exist
            return function(*arguments, **named)

        if annotate is argument_of:
            called.__doc__ = f"{inspect.getdoc(function)}\n\n{_described(without)}"
        # inspect and typer read the one, typer the other.
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
        return called  # type: ignore[return-value]

    return decorate


def _described(without: Collection[str]) -> str:
    """Return the options as a section of a docstring."""
    lines = [f"{one.name}\n    {one.metadata['help']}" for one in OPTIONS.values() if one.name not in without]
    return "\n".join(["Options", "-------", *lines])
