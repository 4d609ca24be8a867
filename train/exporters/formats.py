"""Export formats: the contents of a format's module, and of the files that it writes.

A format is a module of this folder with the format's name. A new one needs that and a name in `ExportFormat`.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from cache.shared.errors import UserError

if TYPE_CHECKING:
    from cache.shared.types import Float32
    from train.backend.types import Model

Outputs: TypeAlias = "dict[str, Float32]"
# The name and version of what runs an exported file, and the file as a function of a batch to outputs by name.
Exported: TypeAlias = "tuple[str, Callable[[Float32], Outputs]]"

# The file that holds the metadata in a SavedModel and in a TFLite file.
METADATA_FILE = "metadata.json"

_Names = TypeVar("_Names", bound=StrEnum)


class ExportFormat(StrEnum):
    """A format of other programs."""

    onnx = "onnx"
    tflite = "tflite"
    saved_model = "saved_model"


class ExportInput(StrEnum):
    """The input of an exported model."""

    waveform = "waveform"
    features = "features"


class Exportable(NamedTuple):
    """A model to write, and what belongs to it."""

    model: "Model"  # a Keras model that has names for its input and its outputs
    metadata: Mapping[str, object]  # what a user of the file needs to know, by name; JSON can hold it
    samples: "Sequence[Float32]"  # inputs of real clips, one each, for a format that has to see some


class Format(Protocol):
    """The module of a format."""

    NAME: str  # the format's name in the help
    SUFFIX: str  # how its files end; "" for a directory
    PACKAGES: dict[str, str]  # what writes and runs it besides TensorFlow: the name to import, and the name to install

    def write(self, exportable: Exportable, file: Path) -> None:
        """Write a model."""

    def open_file(self, file: Path) -> Exported:
        """Open an exported file without anything of the program that wrote it."""


def format_named(name: str | None, out: Path) -> ExportFormat:
    """Return the format of that name, or without one the format that the ending of a file's name stands for."""
    if name is not None:
        return known(ExportFormat, name, "format")
    suffixes = {_module(name).SUFFIX: name for name in ExportFormat}
    if not out.suffix or out.suffix.lower() not in suffixes:
        raise UserError(f"{out.name} does not end in {endings()}, so name the format: {', '.join(ExportFormat)}")
    return suffixes[out.suffix.lower()]


def known(names: type[_Names], name: str, what: str) -> _Names:
    """Return one of some names; a UserError lists them if this is none of them."""
    if name not in list(names):
        raise UserError(f"there is no {what} {name!r}; there are {', '.join(names)}")
    return names(name)


def format_names() -> str:
    """Return the formats' names in the help."""
    return ", ".join(_module(name).NAME for name in ExportFormat)


def endings() -> str:
    """Return the endings that stand for a format, in words."""
    return " or ".join(suffix for name in ExportFormat if (suffix := _module(name).SUFFIX))


def _module(name: str) -> Format:
    return cast("Format", import_module(f"train.exporters.{ExportFormat(name)}"))


def format_called(name: str) -> Format:
    """Return the module of a format; a UserError says how to install the packages that it needs."""
    format = _module(name)
    if missing := [package for module, package in format.PACKAGES.items() if find_spec(module) is None]:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}, not installed here; install with"
            " `pip install 'melcache[export]'`, or have everything in .venv with `make install`"
        )
    return format
