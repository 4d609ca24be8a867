"""Header: the properties of a cache as a whole; every root attribute of the file is defined here, once."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, get_type_hints

from cache.file.settings import SETTINGS, MelSettings
from cache.labels.table import ColumnNames
from cache.shared.errors import CacheError, DamagedCache
from cache.shared.segment import MIDDLE, Crop, CropName
from cache.shared.text import is_utf8

# The names of the folders and labels that belong to each class, by its name, which as a rule is the only one. The
# position of the class is its label index.
Classes = Mapping[str, tuple[str, ...]]

FORMAT = "melcache"
FORMAT_VERSION = 5
_OLDEST_VERSION = 3

# The one place where a later version takes in caches of earlier ones: by version the columns, root attributes and
# feature settings that came with it, each with the value that an earlier cache has instead.
SINCE: dict[int, dict[str, Any]] = {
    4: {
        "point": 0.0,
        "class_members": "{}",
        "corrected": 0,
        "file_column": "",
        "start_column": "",
        "end_column": "",
    },
    5: {"clip": "", "clip_duration": 0.0, **MIDDLE._asdict()},
}


def lacking(version: int) -> dict[str, Any]:
    """Return what a cache of a format version lacks, by name, with the value it has instead."""
    return {name: value for since, added in SINCE.items() if since > version for name, value in added.items()}


def is_folder_name(name: object) -> bool:
    """Whether a class name can be the name of a folder in DATA, and of nothing outside of it."""
    return isinstance(name, str) and is_utf8(name) and name not in ("", ".", "..") and not {*"/\0"} & {*name}


def _is_count(value: float) -> bool:
    return value >= 0


def _are_versions(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) and is_utf8(text) for text in value.values())


def _is_relative(path: object) -> bool:
    return isinstance(path, str) and is_utf8(path) and "\0" not in path and not path.startswith("/")


def _are_relative(paths: object) -> bool:
    return isinstance(paths, list) and all(map(_is_relative, paths))


def _are_class_names(names: object) -> bool:
    return isinstance(names, list) and all(map(is_folder_name, names)) and len({*names}) == len(names) > 0


def _are_members(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_are_class_names, value.values()))


def _stored(default: Any, check: Callable[[Any], bool], is_json: bool = False) -> Any:
    """Return a field with a check of the value in the file, which for a table or a list may be JSON."""
    return field(default=default, metadata={"check": check, "is_json": is_json})


@dataclass(frozen=True)
class Header:
    """The properties that all rows of a cache share, and how the cache was asked for.

    Each field but `settings` and `dtype` is a root attribute of the same name; each setting is one of its own.
    """

    settings: MelSettings = field(default_factory=MelSettings)
    feature_version: int = 0  # version of the code that computes X
    class_names: tuple[str, ...] = _stored((), _are_class_names)  # the position is the label index
    dtype: str = "float32"  # element type of X, a key of `cache.file.columns.X_DTYPES`
    # 64 hexadecimal digits that name the content, see `cache.file.columns.fingerprint`; "" before there is any.
    fingerprint: str = ""
    # The libraries that made the cache, with their versions; JSON in the file.
    versions: Mapping[str, str] = field(default_factory=dict, metadata={"check": _are_versions, "is_json": True})
    # DATA when the cache was written, relative to the folder of the cache; "" if it has no name in UTF-8.
    data_dir: str = _stored("", _is_relative)
    max_per_class: int = _stored(0, _is_count)  # how many clips of each class were asked for; 0 for all
    # The tables of labels, and folders of them, relative to the folder of the cache; JSON in the file.
    tables: tuple[str, ...] = _stored((), _are_relative, is_json=True)
    # The columns of tables of labels that the user named; "" for the usual ones.
    file_column: str = ""
    start_column: str = ""
    end_column: str = ""
    label_column: str = ""
    point: float = _stored(0.0, _is_count)  # seconds that a label of a point in time is given; 0 to skip such labels
    widen: bool = False  # whether short labels are widened to the median
    # Seconds of segments that are widened or without a label; 0 if there are none.
    label_length: float = _stored(0.0, _is_count)
    background: int = _stored(0, _is_count)  # how many segments without a label are taken of each labelled recording
    # The names of the folders and labels that belong to a class, of each class that is not its own only member; JSON in
    # the file.
    class_members: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict, metadata={"check": _are_members, "is_json": True}
    )
    # How clips that are longer than a row become rows, see `cropping`.
    crop: str = _stored(MIDDLE.crop, lambda name: name in list(CropName))
    overlap: float = _stored(MIDDLE.overlap, lambda share: 0 <= share < 1)
    n_windows: int = _stored(MIDDLE.n_windows, lambda n: n > 0)
    format_version: int = FORMAT_VERSION  # that of the file

    @property
    def cropping(self) -> Crop:
        """How clips that are longer than a row become rows."""
        return Crop(self.crop, self.overlap, self.n_windows)

    @property
    def members(self) -> Classes:
        """The names of the folders and labels that belong to each class."""
        return {name: self.class_members.get(name, (name,)) for name in self.class_names}

    @property
    def folders(self) -> list[str]:
        """The names of all folders and labels that belong to the classes."""
        return [name for members in self.members.values() for name in members]

    @property
    def columns(self) -> ColumnNames:
        """The columns of tables of labels that the user named."""
        return ColumnNames(self.file_column, self.start_column, self.end_column, self.label_column)

    @property
    def determines_rows(self) -> dict[str, object]:
        """The part that the rows of a clip depend on."""
        rows = {"settings": self.settings.as_dict(), "feature_version": self.feature_version, "dtype": self.dtype}
        # Unfinished rows of earlier versions show the middle.
        return rows if self.cropping == MIDDLE else rows | self.cropping._asdict()

    @property
    def request(self) -> Self:
        """The part that was asked for: headers of the same request are equal in it."""
        return replace(self, fingerprint="", versions={}, data_dir="")

    def of_classes(self, members: Classes) -> Self:
        """Return the header with other classes."""
        own = {name: names for name, names in members.items() if names != (name,)}
        return replace(self, class_names=tuple(members), class_members=own)

    def attributes(self) -> dict[str, Any]:
        """Return the root attributes, as h5py writes them."""
        own = {name: getattr(self, name) for name in _FIELDS}
        own["versions"] = dict(sorted(self.versions.items()))
        # HDF5 keeps text as UTF-8 only.
        own["data_dir"] = self.data_dir if is_utf8(self.data_dir) else ""
        own |= {name: json.dumps(own[name]) for name, stored in _FIELDS.items() if stored.get("is_json")}
        return {"format": FORMAT, **self.settings.as_dict(), **own, "class_names": list(self.class_names)}

    @classmethod
    def read(cls, attributes: Mapping[str, Any], dtype: str) -> Self:
        """Check the root attributes of a file, and return what they say.

        Raises a DamagedCache if one is missing, or too much, or not what the format says.
        """
        missing = lacking(format_version_of(attributes))
        if odd := {*attributes} ^ ({*ATTRIBUTES} - {*missing}):
            raise DamagedCache(f"it has other attributes than this format, {min(odd)[:40]!r} is lacking or too much")
        found = {name: missing[name] if name in missing else _plain(attributes[name]) for name in ATTRIBUTES}
        settings = MelSettings(**{name: _checked(name, found[name], kind, {}) for name, kind in SETTINGS.items()})
        hints = get_type_hints(cls)
        own = {name: _checked(name, found[name], hints[name], stored) for name, stored in _FIELDS.items()}
        own |= {name: tuple(own[name]) for name in ("class_names", "tables")}
        own["class_members"] = {name: tuple(members) for name, members in own["class_members"].items()}
        if not own["class_members"].keys() <= {*own["class_names"]}:
            raise DamagedCache("it has members of a class that it does not have")
        return cls(settings=settings, dtype=dtype, **own)


# How each field is stored that is an attribute, by its name.
_FIELDS = {one.name: one.metadata for one in fields(Header) if one.name not in ("settings", "dtype")}
# The fields about tables of labels, which a cache without tables leaves as they are; the first name columns of theirs.
COLUMN_FIELDS = tuple(f"{role}_column" for role in ColumnNames._fields)
ABOUT_LABELS = (*COLUMN_FIELDS, "point", "widen", "label_length", "background")
# The names of all root attributes.
ATTRIBUTES = ("format", *_FIELDS, *SETTINGS)


def format_version_of(attributes: Mapping[str, Any]) -> int:
    """Return the version of the format that a file has.

    Raises a CacheError if the file is not a cache, or has a version that this program does not read.
    """
    if _plain(attributes.get("format")) != FORMAT:
        raise CacheError("it is an HDF5 file, but not a cache; give the one that `python -m featurize` wrote")
    version = _plain(attributes.get("format_version"))
    # Exactly, because True is an int too.
    if type(version) is not int or version not in range(_OLDEST_VERSION, FORMAT_VERSION + 1):
        raise CacheError(
            f"it has format version {str(version)[:20]}, and this program reads {_OLDEST_VERSION} to {FORMAT_VERSION};"
            " delete it and run `python -m featurize` again, or use the program that made it"
        )
    return version


def _plain(value: Any) -> Any:
    """Return the plain Python value that the writer was given."""
    # numpy scalars and arrays have tolist().
    return value.tolist() if hasattr(value, "tolist") else value


def _checked(name: str, value: Any, kind: Any, stored: Mapping[str, Any]) -> Any:
    """Return the value of an attribute, out of its JSON; a DamagedCache if it makes no sense."""
    if stored.get("is_json"):
        value = _from_json(value)
    # Exactly, because True is an int too. A table or a list has its own check.
    elif (
        (kind in (str, int, float, bool) and type(value) is not kind)
        or (kind is float and not math.isfinite(value))
        or (kind is str and not is_utf8(value))
    ):
        value = None
    if value is None or not stored.get("check", lambda _: True)(value):
        raise DamagedCache(f"its attribute {name!r} makes no sense")
    return value


def _from_json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
