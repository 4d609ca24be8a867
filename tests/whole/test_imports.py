"""The plan of the house: imports point down, large libraries stay in their rooms, and a start loads what it needs."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import ROOT


def modules_after(code):
    """Names of the modules that are loaded once `code` has run in a fresh interpreter."""
    report = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
    done = subprocess.run([sys.executable, "-c", report + code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def help_of(package):
    return f"import runpy, sys; sys.argv = [{package!r}, '--help']; runpy.run_module({package!r}, run_name='__main__')"


@pytest.mark.parametrize("package", ["featurize", "train", "cache"])
def test_no_help_and_no_import_of_a_command_loads_tensorflow_or_librosa(package):
    for code in (f"import {package}.__main__", help_of(package)):
        assert not {"tensorflow", "keras", "librosa", "numba", "sklearn"} & modules_after(code)


def test_importing_a_face_of_train_starts_no_tensorflow() -> None:
    loaded = modules_after("from train import classify, crossval, evaluate, export, fit; help(fit)")
    assert not {"tensorflow", "keras", "librosa", "numba", "sklearn", "typer"} & loaded
    assert "train.fitting.fit" in loaded


def test_the_cache_needs_numpy_and_h5py_only():
    loaded = modules_after(
        "import cache, cache.file.publish, cache.file.journal, cache.look.info, cache.look.info, cache.look.plot"
    )
    assert not {"tensorflow", "librosa", "scipy", "soundfile", "typer", "tqdm", "featurize", "train"} & loaded
    assert {"numpy", "h5py"} <= loaded


def test_a_run_with_nothing_to_do_loads_no_signal_processing(tones, tones_cache):
    code = f"import sys; sys.argv = ['featurize', {str(tones)!r}, '--cache', {str(tones_cache)!r}]\n"
    loaded = modules_after(code + "import runpy; runpy.run_module('featurize', run_name='__main__')")
    assert not {"llvmlite", "scipy", "soundfile", "soxr", "tqdm", "multiprocessing", "librosa", "pydantic"} & loaded


def test_a_command_of_several_asks_pydantic_about_no_option(tones_cache):
    code = f"import sys; sys.argv = ['cache', 'verify', {str(tones_cache)!r}]\n"
    assert "pydantic" not in modules_after(code + "import runpy; runpy.run_module('cache', run_name='__main__')")


# The rooms from the top down: a room imports what stands on lower floors, and itself. A change here is a change of the
# plan of the house, and of its picture in README.md.
FLOORS = [
    "featurize.__main__ train.__main__ cache.__main__",
    "train.console",
    "train.commands",
    "train",
    "train.fitting train.recordings train.review",
    "train.report train.exporters",
    "train.predict train.score",
    "train.models",
    "train.runs",
    "train.dataset",
    "train.backend",
    "featurize",
    "featurize.update",
    "featurize.workers",
    "featurize.features",
    "featurize.audio",
    "cache",
    "cache.look cache.combine",
    "cache.file",
    "cache.labels",
    "cache.shared",
]
FLOOR_OF = {room: len(FLOORS) - i for i, rooms in enumerate(FLOORS) for room in rooms.split()}
PACKAGES = ("cache", "featurize", "train")
# Libraries that are slow to import, or that only the command line needs, and the rooms that may import them.
OWNERS = {
    "librosa": {"featurize.features"},
    "tensorflow": {"train.backend", "train.exporters"},
    "keras": {"train.backend"},
    "typer": {"train.commands", "train.__main__", "featurize.__main__", "cache.__main__", "cache.shared"},
}
# Rooms of train that read clips, as featurize does.
OF_NEW_CLIPS = {"train.predict", "train.exporters", "train.recordings", "train.report", "train.review"}


class Import(NamedTuple):
    """A line of code: the module it stands in, and the dotted name it asks for."""

    by: str
    of: str

    def __str__(self) -> str:
        return f"{self.by} imports {self.of}"


def room_of(name: str) -> str:
    """The longest room that a dotted name begins with, or the library that it is of."""
    words = name.split(".")
    prefixes = [".".join(words[:n]) for n in range(len(words), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in FLOOR_OF), words[0])


def modules(root: Path, packages: Collection[str] = PACKAGES) -> dict[str, Path]:
    """The file of every module of the packages, by its dotted name."""
    files = [file for package in packages for file in sorted((root / package).rglob("*.py"))]
    return {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(root: Path, packages: Collection[str] = PACKAGES) -> list[Import]:
    """Every import in the packages, also those inside of functions."""
    found = []
    for name, file in modules(root, packages).items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [Import(name, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} has a relative import, which this test does not follow"
                found += [Import(name, f"{node.module}.{alias.name}") for alias in node.names]
    return found


@pytest.fixture(scope="module")
def ours() -> list[Import]:
    return imports(ROOT)


def homeless(root: Path) -> set[str]:
    """Modules that are in no room; the files of a package's own folder are its __init__ and its command alone."""
    return {name for name in modules(root) if room_of(name) in PACKAGES and name not in FLOOR_OF}


def pointing_up(found: list[Import]) -> list[str]:
    """Imports of a room that stands on the same floor or on a higher one."""
    arrows = [(line, room_of(line.by), room_of(line.of)) for line in found if room_of(line.of) in FLOOR_OF]
    return [str(line) for line, home, other in arrows if home != other and FLOOR_OF[other] >= FLOOR_OF[home]]


def in_circles(found: list[Import]) -> set[str]:
    """Modules that import each other in a circle, and what imports them."""
    names = {line.by for line in found} | {line.of for line in found}
    arrows: dict[str, set[str]] = {line.by: set() for line in found}
    for line in found:
        # `from module import name` and `from package import module` look alike.
        module = line.of if line.of in arrows else line.of.rpartition(".")[0]
        if module in arrows and module != line.by:
            arrows[line.by].add(module)
    assert names
    while leaves := {name for name, others in arrows.items() if not others}:
        arrows = {name: others - leaves for name, others in arrows.items() if name not in leaves}
    return set(arrows)


def trespassing(found: list[Import]) -> list[str]:
    """Imports of a library outside the rooms that own it."""
    owned = [(line, OWNERS[line.of.split(".")[0]]) for line in found if line.of.split(".")[0] in OWNERS]
    return [str(line) for line, owners in owned if room_of(line.by) not in owners]


def across_stages(found: list[Import]) -> list[str]:
    """Imports from one stage into the other: to train, they share nothing but the file."""
    return [
        str(line)
        for line in found
        if (line.of.startswith("train.") and not line.by.startswith("train"))
        or (line.of.startswith("featurize") and line.by.startswith("train") and room_of(line.by) not in OF_NEW_CLIPS)
    ]


def of_a_test(found: list[Import]) -> list[str]:
    """Imports of a test file or of conftest, whoever asks for them, and imports of a helper by the code itself."""
    return [
        str(line)
        for line in found
        if line.of.split(".")[0] == "tests"
        and (line.by.split(".")[0] != "tests" or re.search(r"\.(test_|conftest\b)", line.of))
    ]


def test_every_room_has_files_and_every_file_is_in_a_room() -> None:
    assert {room_of(name) for name in modules(ROOT)} == FLOOR_OF.keys()
    folders = {file.parent.relative_to(ROOT).as_posix() for file in modules(ROOT).values()}
    assert {folder.replace("/", ".") for folder in folders} - set(PACKAGES) <= FLOOR_OF.keys()
    assert homeless(ROOT) == set()
    assert len(modules(ROOT)) > 60


def test_a_room_holds_at_most_nine_files(ours: list[Import]) -> None:
    sizes = Counter(room_of(name) for name in modules(ROOT))
    assert {room: n for room, n in sizes.items() if n > 9} == {}


def test_imports_point_down(ours: list[Import]) -> None:
    arrows = {(room_of(line.by), room_of(line.of)) for line in ours if room_of(line.of) in FLOOR_OF}
    assert len(arrows) > 40, "hardly a room imports another: does this test still read the code?"
    assert pointing_up(ours) == []


def test_no_module_imports_in_a_circle(ours: list[Import]) -> None:
    assert in_circles(ours) == set()


def test_each_large_library_is_imported_only_in_the_rooms_that_own_it(ours: list[Import]) -> None:
    assert OWNERS.keys() <= {line.of.split(".")[0] for line in ours}
    assert trespassing(ours) == []


def test_to_train_the_stages_share_nothing_but_the_file(ours: list[Import]) -> None:
    assert {room_of(line.by) for line in ours if line.of.startswith("featurize")} >= OF_NEW_CLIPS
    assert across_stages(ours) == []


def test_what_several_tests_need_is_a_helper(ours: list[Import]) -> None:
    of_tests = imports(ROOT, ["tests"])
    assert "tests.helpers" in {line.of.rpartition(".")[0].rpartition(".")[0] for line in of_tests}
    assert of_a_test([*ours, *of_tests]) == []


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"train/score/metrics.py": "from train.fitting.fit import fit"}, pointing_up),
        ({"cache/shared/text.py": "import cache.file.columns"}, pointing_up),
        ({"train/score/metrics.py": "def f():\n    from train.predict.predict import predict"}, pointing_up),
        (
            {
                "train/fitting/a.py": "from train.fitting import b",
                "train/fitting/b.py": "from train.fitting.a import x",
            },
            in_circles,
        ),
        ({"train/fitting/a.py": "import train.fitting.b", "train/fitting/b.py": "import train.fitting.a"}, in_circles),
        ({"featurize/audio/decode.py": "def f():\n    import librosa.filters"}, trespassing),
        ({"train/score/metrics.py": "from tensorflow import keras"}, trespassing),
        ({"train/fitting/fit.py": "import typer"}, trespassing),
        ({"featurize/update/update.py": "from train.runs.record import versions"}, across_stages),
        ({"train/fitting/fit.py": "from featurize.audio.find import find_clips"}, across_stages),
        ({"tests/whole/test_round.py": "from tests.train.predict.test_windows import tone"}, of_a_test),
        ({"tests/helpers/runs.py": "from tests.conftest import fit"}, of_a_test),
        ({"train/fitting/fit.py": "import tests.helpers.tones"}, of_a_test),
    ],
)
def test_a_fault_in_the_house_would_be_found(
    files: dict[str, str], fault: Callable[[list[Import]], Collection[str]], tmp_path: Path
) -> None:
    for name, code in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    assert len(fault(imports(tmp_path, [*PACKAGES, "tests"]))) == len(files)


def test_a_file_outside_the_rooms_would_be_found(tmp_path: Path) -> None:
    for name in ("train/stray.py", "cache/__init__.py", "featurize/attic/old.py", "train/fitting/fit.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert homeless(tmp_path) == {"train.stray", "featurize.attic.old"}
