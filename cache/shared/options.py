"""Options: fields of a record, each written down once, which become arguments of a function and of its command."""

import functools
import inspect
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, field, fields
from enum import StrEnum
from inspect import Parameter
from numbers import Integral, Real
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_args

from cache.shared.errors import UserError

if TYPE_CHECKING:
    from typer.core import TyperCommand, TyperGroup

# Options that an empty text sets back to the usual columns.
_MAY_BE_EMPTY = ("file_column", "start_column", "end_column", "label_column")

Option: TypeAlias = "Field[Any]"
_Function = TypeVar("_Function", bound=Callable[..., object])


def option(default: Any, help: str, **how: Any) -> Any:
    """Return the field of an option; `MISSING` for a default that something else decides.

    `how` are arguments of typer.Option, and `flag` where the option of the command is not called as the field.
    """
    return field(default=default, metadata={"help": help, **how})


def options_in(record: type[Any]) -> dict[str, Option]:
    """Return the fields of a record that are options, by name."""
    return {one.name: one for one in fields(record) if "help" in one.metadata}


def default_of(one: Option) -> Any:
    """Return the value of an option that is not given; None also stands for a default that something else decides."""
    return None if one.default is MISSING else one.default


def argument_of(one: Option) -> Any:
    """Return the type of an option as an argument: None, too, where that stands for a default."""
    kind: Any = one.type
    return kind | None if default_of(one) is None else kind


def in_command(one: Option) -> Any:
    """Return the type of an option as a parameter of a typer command, with how it is given."""
    return Annotated[argument_of(one), typer_option(one)]


def typer_option(one: Option) -> Any:
    """Return how an option is given on the command line."""
    import typer

    said = dict(one.metadata)
    # Not also --no-..
    names = [f"--{one.name}"] if one.type is bool else [said.pop("flag")] if "flag" in said else []
    return typer.Option(*names, **said)


def checked(record: type[Any], chosen: Mapping[str, object]) -> dict[str, Any]:
    """Return options by name, each of its type; numbers may be NumPy's, and paths may be pathlib's.

    Raises a UserError if a value is not of the option's type or outside its bounds, and a KeyError if there is no such
    option.
    """
    known = options_in(record)
    values: dict[str, Any] = {}
    for name, value in chosen.items():
        one = known[name]
        kind = next(kind for kind in (*get_args(one.type), one.type) if kind is not NoneType)
        is_open = value is None and default_of(one) is None
        how = one.metadata
        values[name] = None if is_open else checked_value(name, value, kind, how.get("min"), how.get("max"))
    return values


def checked_value(name: str, value: Any, kind: Any, least: float | None = None, most: float | None = None) -> Any:
    """Return an argument as its type; a UserError if it is not one, or outside of its bounds."""
    if issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
        expected = f"one of {', '.join(kind)}"
    elif kind is str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(text, str):
            return text
        expected = "a text"
    elif kind is bool:
        if isinstance(value, bool):
            return value
        expected = "True or False"
    else:
        is_number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        low, high = (-math.inf if least is None else least), (math.inf if most is None else most)
        if is_number and math.isfinite(value) and low <= value <= high:
            return kind(value)
        bounds = f" from {least} to {most}" if most is not None else "" if least is None else f", {least} or more"
        expected = f"a {'whole number' if kind is int else 'number'}{bounds}"
    raise UserError(f"{name} is {value!r:.60}; give {expected}")


def takes_options(
    record: type[Any], *without: str, annotate: Callable[[Option], Any] = argument_of
) -> Callable[[_Function], _Function]:
    """Put the options of a record, except some, into a function's signature, behind its positional arguments.

    The annotation of an argument is made by `annotate`; a command's is in_command().
    """
    chosen = [one for one in options_in(record).values() if one.name not in without]
    options = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=default_of(one), annotation=annotate(one)) for one in chosen
    ]

    def decorate(function: _Function) -> _Function:
        own = inspect.signature(function)
        kept = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        n = sum(one.kind is not Parameter.KEYWORD_ONLY for one in kept)
        signature = own.replace(parameters=[*kept[:n], *options, *kept[n:]])

        @functools.wraps(function)
        def called(*arguments: object, **named: object) -> object:
            try:
                signature.bind(*arguments, **named)
            except TypeError as error:  # it names an argument that does not exist, but not the function
                raise TypeError(f"{function.__name__}(): {error}") from None
            return function(*arguments, **named)

        if annotate is argument_of:
            called.__doc__ = f"{inspect.getdoc(function)}\n\n{_described(chosen)}"
        # inspect and typer read the one, typer the other.
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
        return called  # type: ignore[return-value]

    return decorate


def _described(options: Collection[Option]) -> str:
    """Return the options as a section of a docstring."""
    return "\n".join(
        ["Options", "-------", *(f"{one.name}\n    {one.metadata['help']}{_names(one)}" for one in options)]
    )


def _names(one: Option) -> str:
    """Return the names that an option can have, if there are several, as the end of its help."""
    kinds = (kind for kind in get_args(one.type) if issubclass(kind, StrEnum) and len(kind) > 1)
    return "".join(f" One of {', '.join(kind)}." for kind in kinds)


def _processed(param: Any, by_typer: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """Process a value of the command line as typer does, but texts, paths and defaults without asking pydantic.

    Typer asks it about every option, given or not, which takes a quarter of the processor time of a run that has
    nothing to do.
    """
    known = getattr(param, "type_descriptor", None)  # other versions of typer may not have it
    if known is None or known.parameter_info.parser is not None:
        return by_typer(ctx, value)
    kind, is_list = known.annotation, param.multiple or param.nargs == -1
    values = value if is_list and value is not None else [value]
    if "" in values and param.name not in _MAY_BE_EMPTY:
        raise _refused(param, ctx, "it is empty")
    are_texts = bool(values) and all(isinstance(one, str | Path) for one in values)
    if value is None and not param.required:
        value = () if is_list else None
    elif are_texts and kind in (str, list[str]):
        value = list(values) if is_list else value
    elif are_texts and kind in (Path, list[Path]) and _may_be_any(known.parameter_info, values):
        value = [Path(one) for one in values] if is_list else Path(value)
    elif type(value) is not kind or value != param.default:
        return _by_pydantic(param, by_typer, ctx, value)
    return value if param.callback is None else param.callback(ctx, param, value)


def _by_pydantic(param: Any, by_typer: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """Process a value as typer does, and say of one that is refused how it is and how it must be."""
    from typer import BadParameter

    try:
        return by_typer(ctx, value)
    except BadParameter as error:
        message = error.message.removeprefix("Value error, ")
        rule = message.removeprefix("Input should be ")
        if rule != message:
            message = f"{value} is not {rule.split(',')[0]}"
        raise _refused(param, ctx, message.removesuffix(".")) from None


def _refused(param: Any, ctx: Any, why: str) -> Exception:
    from typer import BadParameter

    name = param.opts[-1] if param.param_type_name == "option" else param.metavar or param.name
    return BadParameter(why, ctx=ctx, param_hint=name)


def _may_be_any(known: Any, paths: Iterable[str | Path]) -> bool:
    """Whether paths need not exist, and those that do need only be readable, and are."""
    return (
        (known.file_okay and known.dir_okay)
        and not (known.exists or known.writable or known.resolve_path)
        and all(os.access(path, os.R_OK) or not os.path.exists(path) for path in paths)  # noqa: PTH110
    )


def _without_pydantic(command: "TyperCommand | TyperGroup", ctx: Any) -> None:
    for param in command.get_params(ctx):
        param.process_value = functools.partial(_processed, param, param.process_value)  # type: ignore[method-assign]


@functools.cache
def several() -> "type[TyperGroup]":
    """Return the class of an app that has several commands."""
    from typer.core import TyperGroup

    class Several(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            _without_pydantic(self, ctx)
            return super().parse_args(ctx, args)

    return Several


@functools.cache
def once() -> "type[TyperCommand]":
    """Return the class of commands that refuse an option given twice, whose first value would be lost."""
    import typer
    from typer.core import TyperCommand

    class Once(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            _without_pydantic(self, ctx)
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            for option in order:
                if option.param_type_name == "option" and order.count(option) > 1 and not option.multiple:
                    raise typer.BadParameter("it is given twice; give it once", ctx=ctx, param_hint=option.opts[-1])
            return super().parse_args(ctx, args)

    return Once
