"""The measurements of a run, as `run.json` holds them: scores, the leak probe, folds, and the split of the clips.

typed() reads JSON as the dataclass that it was written from, and names an entry that does not fit.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


class Within(NamedTuple):
    """The least and the greatest value that a number may have."""

    least: float
    most: float = math.inf

    def __str__(self) -> str:
        return f"{self.least:g} or more" if math.isinf(self.most) else f"between {self.least:g} and {self.most:g}"


Share = Annotated[float, Within(0, 1)]
Count = Annotated[int, Within(0)]
Number = Annotated[int, Within(1)]  # counted from 1
Seconds = Annotated[float, Within(0)]
Interval = tuple[Share, Share]


@dataclass(frozen=True)
class ClassScore:
    """How well one class was predicted; 0 where it was never predicted, or has no clips. `n` counts its clips."""

    precision: Share
    recall: Share
    f1: Share
    n: Count


@dataclass(frozen=True)
class Score:
    """How well the classes of clips were predicted."""

    n: Number  # how many clips were tested
    n_groups: Number  # in how many groups that are independent of each other
    accuracy: Share
    interval: Interval  # of the accuracy, 95 %
    macro_f1: Share
    per_class: dict[str, ClassScore]
    confusion: list[list[Count]]  # clips of each true class (row) by predicted class (column)


@dataclass(frozen=True)
class LeakProbe:
    """How well the class is predicted without sound, beside the share of the most frequent class.

    `leaks` says whether the way the clips were recorded gives the class away.
    """

    accuracy: Share
    interval: Interval
    majority: Share
    leaks: bool


@dataclass(frozen=True)
class FoldSummary:
    """One fold of a cross-validation; `sanity` has the accuracy of each baseline by its name."""

    repeat: Number
    fold: Number
    n_train: Count
    n_val: Count
    n_test: Count
    accuracy: Share
    sanity: dict[str, Share]
    n_epochs: Number
    best_epoch: Number
    seconds: Seconds


@dataclass(frozen=True)
class Subset:
    """One subset of a split: its clips, their groups, and its clips of each class."""

    n: Count
    n_groups: Count
    n_per_class: dict[str, Count]


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
        found, bounds = _value(arguments[0], value, name), arguments[1]
        if not bounds.least <= cast(float, found) <= bounds.most:
            raise _wrong(name, value, str(bounds))
        return found
    if origin is Literal:
        if value not in arguments:
            raise _wrong(name, value, " or ".join(map(repr, arguments)))
        return value
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not NoneType]
        if value is None and NoneType in arguments:
            return None
        if len(kinds) > 1 and type(value) not in kinds:
            raise _wrong(name, value, " or ".join(_WORDS[each] for each in arguments))
        return _value(type(value) if len(kinds) > 1 else kinds[0], value, name)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise _wrong(name, value, "a list")
        kinds = [*arguments] if origin is tuple else [arguments[0]] * len(value)
        if len(value) != len(kinds):
            raise _wrong(name, value, f"a list of {len(kinds)}")
        items = enumerate(zip(kinds, value, strict=True))
        return origin(_value(each, item, f"{name}[{i}]") for i, (each, item) in items)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        return {key: _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, value, name)
    # By type(), because True is an int too.
    is_kind = type(value) is kind or (kind, type(value)) == (float, int)
    if not is_kind or (isinstance(value, float) and not math.isfinite(value)):
        raise _wrong(name, value, _WORDS[kind])
    return value


def _wrong(name: str, value: object, expected: str) -> ValueError:
    found = {list: "a list", dict: "an object", NoneType: "null"}.get(type(value)) or repr(value)
    return ValueError(f"{name} is {found if len(found) <= 60 else f'{found[:60]}..'}, expected {expected}")
