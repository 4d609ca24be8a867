"""Export formats: what a module of each has, and what an exported model takes.

A format is a module of this folder called as the format is; another one needs that and a name in `ExportFormat`.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from cache.shared.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Float32: TypeAlias = "npt.NDArray[np.float32]"
Outputs: TypeAlias = "dict[str, Float32]"
# The name of what runs an exported file, with its version, and the file as a function of a batch to outputs by name.
Exported: TypeAlias = "tuple[str, Callable[[Float32], Outputs]]"

# In a SavedModel and a TFLite file.
METADATA_FILE = "metadata.json"


class ExportFormat(StrEnum):
    """A format of other programs."""

    onnx = "onnx"
    tflite = "tflite"
    saved_model = "saved_model"


class ExportInput(StrEnum):
    """What an exported model takes."""

    waveform = "waveform"
    features = "features"


class Format(Protocol):
    """What the module of a format has.

    Attributes
    ----------
    NAME
        What it is called in the help.
    SUFFIX
        How its files end; "" for a directory.
    PACKAGES
        What writes it and what runs it beside TensorFlow: as it is imported, and as it is called where it is installed
        from.
    """

    NAME: str
    SUFFIX: str
    PACKAGES: dict[str, str]

    def write(self, model: Any, file: Path, metadata: Mapping[str, Any]) -> None:
        """Write a Keras model that has names for its input and its outputs."""

    def open_file(self, file: Path) -> Exported:
        """Open an exported file without anything of the program that wrote it."""


def format_named(name: str | None, out: Path) -> ExportFormat:
    """Return the format of that name, or without one the format that the ending of a file's name stands for.

    Raises
    ------
    UserError
        There is no such format.
    """
    if name is not None:
        if name not in list(ExportFormat):
            raise UserError(f"there is no format {name!r}; there is {', '.join(ExportFormat)}")
        return ExportFormat(name)
    suffixes = {_module(name).SUFFIX: name for name in ExportFormat}
    if not out.suffix or out.suffix.lower() not in suffixes:
        raise UserError(f"{out.name} does not end in {endings()}, so name the format: {', '.join(ExportFormat)}")
    return suffixes[out.suffix.lower()]


def input_named(name: str) -> ExportInput:
    """Return the input of that name; a UserError lists the names there are."""
    if name not in list(ExportInput):
        raise UserError(f"there is no input {name!r}; there is {', '.join(ExportInput)}")
    return ExportInput(name)


def format_names() -> str:
    """Return what the formats are called, in words."""
    return ", ".join(_module(name).NAME for name in ExportFormat)


def endings() -> str:
    """Return the endings that stand for a format, in words."""
    return " or ".join(suffix for name in ExportFormat if (suffix := _module(name).SUFFIX))


def _module(name: str) -> Format:
    return cast("Format", import_module(f"train.exporters.{ExportFormat(name)}"))


def format_called(name: str) -> Format:
    """Return the module of a format.

    Raises
    ------
    UserError
        It needs packages that are not installed; says how to install them.
    """
    format = _module(name)
    if missing := [package for module, package in format.PACKAGES.items() if find_spec(module) is None]:
        raise UserError(
            f"--format {name} needs {' and '.join(missing)}, not installed here; install with"
            " `pip install 'melcache[export]'`, or have everything in .venv with `make install`"
        )
    return format
