"""typed(): JSON as the dataclass that it was written from; an entry that does not fit is named."""

import math
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")

_WORDS: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    NoneType: "null",
}


def typed(kind: type[Kind], value: object, optional: Collection[str] = ()) -> Kind:
    """Return a value of JSON as a dataclass, field by field; entries that are not fields are passed over.

    A number keeps the type that it was written with, so that writing it again gives the same bytes. The types of the
    dataclass's fields are scalars, dataclasses, and lists, tuples, dicts and unions of them; a number may be annotated
    with its bounds, which is an object with `least`, `most` and words. A field that is `optional` need not be there,
    and keeps its default. Raises a ValueError that names the entry that is missing or not of its type, and what was
    expected.
    """
    return cast(Kind, _dataclass(kind, value, "", optional))


def _dataclass(kind: type, value: object, name: str, optional: Collection[str] = ()) -> object:
    if not isinstance(value, dict):
        raise _wrong(name or "it", value, "an object")
    hints, prefix = get_type_hints(kind, include_extras=True), f"{name}." if name else ""
    found = {}
    for field in fields(kind):
        if field.name in value:
            found[field.name] = _value(hints[field.name], value[field.name], f"{prefix}{field.name}")
        elif field.name not in optional:
            raise ValueError(f"{prefix}{field.name} is missing")
    return kind(**found)


def _value(kind: object, value: object, name: str) -> object:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = _value(arguments[0], value, name)
        for bounds in arguments[1:]:
            if not bounds.least <= cast(float, found) <= bounds.most:
                raise _wrong(name, value, str(bounds))
        return found
    if origin is Literal:
        if value not in arguments:
            raise _wrong(name, value, " or ".join(map(repr, arguments)))
        return value
    if origin in (Union, UnionType):
        return _one_of(arguments, value, name)
    if origin is list:
        return [_value(arguments[0], item, f"{name}[{i}]") for i, item in enumerate(_list(value, name))]
    if origin is tuple:
        items = _list(value, name)
        if len(items) != len(arguments):
            raise _wrong(name, value, f"a list of {len(arguments)}")
        return tuple(_value(each, item, f"{name}[{i}]") for i, (each, item) in enumerate(zip(arguments, items)))  # noqa: B905
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        return {key: _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, value, name)
    return _scalar(kind, value, name)


def _one_of(kinds: tuple[type, ...], value: object, name: str) -> object:
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    if len(others) == 1:
        return _value(others[0], value, name)
    if type(value) not in others:
        raise _wrong(name, value, " or ".join(_WORDS[kind] for kind in kinds))
    return _value(type(value), value, name)


def _scalar(kind: object, value: object, name: str) -> object:
    # By type(), because True is an int too.
    if type(value) is not kind and (kind, type(value)) != (float, int):
        raise _wrong(name, value, _WORDS[kind])
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(name, value, _WORDS[kind])
    return value


def _list(value: object, name: str) -> list[object]:
    if not isinstance(value, list):
        raise _wrong(name, value, "a list")
    return value


def _wrong(name: str, value: object, expected: str) -> ValueError:
    found = {list: "a list", dict: "an object", NoneType: "null"}.get(type(value)) or _short(value)
    return ValueError(f"{name} is {found}, expected {expected}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}.."
