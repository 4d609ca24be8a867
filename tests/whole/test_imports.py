"""Start-up is part of speed: no command loads what it does not need, and the stages meet only in the cache."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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


def test_the_cache_needs_numpy_and_h5py_only():
    loaded = modules_after(
        "import cache, cache.file.publish, cache.file.partial, cache.look.verify, cache.look.info, cache.look.plot"
    )
    assert not {"tensorflow", "librosa", "scipy", "soundfile", "typer", "tqdm", "featurize", "train"} & loaded
    assert {"numpy", "h5py"} <= loaded


def test_a_run_with_nothing_to_do_loads_no_signal_processing(tones, tones_cache):
    code = f"import sys; sys.argv = ['featurize', {str(tones)!r}, '--cache', {str(tones_cache)!r}]\n"
    loaded = modules_after(code + "import runpy; runpy.run_module('featurize', run_name='__main__')")
    assert not {"llvmlite", "scipy", "soundfile", "soxr", "tqdm", "multiprocessing", "librosa"} & loaded


# From the top down: a room imports rooms that stand below it, and itself.
FLOORS = [
    "featurize.__main__ train.__main__ cache.__main__",
    "train.commands",
    "train.fit",
    "train.report",
    "train.predict train.export train.score",
    "train.runs train.models",
    "train.dataset",
    "train.backend",
    "featurize.build",
    "featurize",
    "featurize.workers",
    "featurize.features",
    "featurize.clips",
    "cache",
    "cache.look",
    "cache.file",
    "cache.shared",
]
FLOOR_OF = {room: len(FLOORS) - i for i, rooms in enumerate(FLOORS) for room in rooms.split()}
OWNERS = {
    "librosa": {"featurize.features"},
    "tensorflow": {"train.backend", "train.export"},
    "keras": {"train.backend"},
    "typer": {"train.commands", "train.__main__", "featurize.__main__", "cache.__main__", "cache.shared"},
}


def room_of(module):
    """The longest room that a dotted name begins with, or the first word of a library."""
    words = module.split(".")
    names = [".".join(words[:n]) for n in range(len(words), 0, -1)]
    return next((name for name in names if name in FLOOR_OF), words[0])


def imports():
    """Every import anywhere in the packages, as (importing file, its room, imported module)."""
    for package in ("cache", "featurize", "train"):
        for file in sorted((ROOT / package).rglob("*.py")):
            here = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((here, room_of(here), alias.name) for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    yield from ((here, room_of(here), f"{node.module}.{alias.name}") for alias in node.names)


def test_every_room_has_files_and_every_file_is_in_a_room():
    homes = {here: home for here, home, _ in imports()}
    assert set(homes.values()) == set(FLOOR_OF) - {"cache", "featurize"} | {"cache", "featurize"} & set(homes.values())
    assert len(homes) > 50
    assert [here for here, home in homes.items() if home in ("cache", "featurize") and here != home] == []


def test_imports_point_down():
    up = [
        f"{here} imports {module}"
        for here, home, module in imports()
        if room_of(module) in FLOOR_OF and room_of(module) != home and FLOOR_OF[room_of(module)] >= FLOOR_OF[home]
    ]
    assert up == []


def test_no_module_imports_in_a_circle():
    arrows: dict[str, set[str]] = {}
    for here, _, module in imports():
        arrows.setdefault(here, set()).update({module, module.rpartition(".")[0]})
    arrows = {here: {there for there in to if there in arrows and there != here} for here, to in arrows.items()}
    while leaves := {here for here, to in arrows.items() if not to}:
        arrows = {here: to - leaves for here, to in arrows.items() if here not in leaves}
    assert arrows == {}


def test_each_large_library_is_imported_only_in_the_rooms_that_own_it():
    for library, owners in OWNERS.items():
        found = {home for _, home, module in imports() if module.split(".")[0] == library}
        assert found, f"nothing imports {library}: does this test still read the code?"
        assert found <= owners, library
    assert not {here for here, home, module in imports() if room_of(module).startswith("train") and "train" not in home}
    of_new_clips = {"train.predict", "train.export"}
    assert {
        home for here, home, module in imports() if home[:5] == "train" and module[:9] == "featurize"
    } <= of_new_clips
