"""Start-up is part of speed: no command loads what it does not need, and the stages meet only in the cache."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
    loaded = modules_after("import cache, cache.writer, cache.partial, cache.verify, cache.contents, cache.plot")
    assert not {"tensorflow", "librosa", "scipy", "soundfile", "typer", "tqdm", "featurize", "train"} & loaded
    assert {"numpy", "h5py"} <= loaded


def test_a_run_with_nothing_to_do_loads_no_signal_processing(tones, tones_cache):
    code = f"import sys; sys.argv = ['featurize', {str(tones)!r}, '--cache', {str(tones_cache)!r}]\n"
    loaded = modules_after(code + "import runpy; runpy.run_module('featurize', run_name='__main__')")
    assert not {"llvmlite", "scipy", "soundfile", "soxr", "tqdm", "multiprocessing", "librosa"} & loaded


def imports_of(package):
    for file in (ROOT / package).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file.name, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield file.name, (node.module or "").split(".")[0]


def test_the_stages_meet_only_in_the_cache():
    assert not {"featurize", "train", "tensorflow", "keras", "librosa"} & {name for _, name in imports_of("cache")}
    assert not {"train", "tensorflow", "keras"} & {name for _, name in imports_of("featurize")}
    assert "librosa" not in {name for _, name in imports_of("train")}
    of_new_clips = {"predict.py", "sources.py", "windows.py", "export.py", "exported.py", "frontend.py"}
    assert {file for file, name in imports_of("train") if name == "featurize"} <= of_new_clips
    assert {file for file, name in imports_of("featurize") if name == "librosa"} == {"check.py"}
