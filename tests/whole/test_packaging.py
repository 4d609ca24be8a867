"""An installation has every package of the checkout, three commands, and no library that the base does not need."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSOLE = ROOT / "train" / "console"
# The libraries that the packages import and only some commands need.
OF_TRAIN = {"jinja2", "keras", "librosa", "onnx", "scikit-learn", "scipy", "tensorflow"}


def names(requirements):
    return {requirement.partition(">")[0].partition("[")[0] for requirement in requirements}


def test_the_wheel_has_every_folder_with_code_and_the_commands_under_a_name_of_their_own():
    folders = {
        file.parent.relative_to(ROOT) for top in ("cache", "featurize", "train") for file in (ROOT / top).rglob("*.py")
    }
    expected = {".".join(folder.parts) for folder in folders} - {"train.console"} | {"melcache"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == expected


def test_the_base_is_without_what_only_training_needs():
    base = names(PROJECT["project"]["dependencies"])
    extras = {name: names(extra) for name, extra in PROJECT["project"]["optional-dependencies"].items()}
    assert not base & OF_TRAIN
    assert extras["train"] == OF_TRAIN
    assert {"melcache"} <= extras["export"] & extras["dev"]


def done(*line, env=None, cwd=ROOT):
    environment = {**os.environ, **(env or {})}
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def command(name, *arguments, path=(), **how):
    """Run an installed command as the script does that pip makes for it."""
    code = f"import sys; sys.argv[0] = '/usr/bin/melcache-{name}'; sys.path[:0] = {[*map(str, path)]}\n"
    code += f"import importlib.util as u; s = u.spec_from_file_location('melcache', {str(CONSOLE / '__init__.py')!r})\n"
    code += f"m = u.module_from_spec(s); s.loader.exec_module(m); m.{name}()"
    return done(sys.executable, "-c", code, *arguments, **how)


@pytest.mark.parametrize("name", ["featurize", "train", "cache"])
def test_the_installed_commands_do_as_the_modules(name, tmp_path):
    asked, module = command(name, "--help", cwd=tmp_path), done(sys.executable, "-m", name, "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.replace(f"Usage: melcache-{name}", f"Usage: python -m {name}") == module.stdout


def test_an_installed_command_completes_by_the_means_of_typer():
    script = command("train", env={"_MELCACHE_TRAIN_COMPLETE": "source_bash"}).stdout
    assert "complete" in script
    assert "melcache-train" in script
    asked = {"_MELCACHE_TRAIN_COMPLETE": "complete_bash", "COMP_WORDS": "melcache-train pre", "COMP_CWORD": "1"}
    assert command("train", env=asked).stdout.split() == ["predict", "preview"]


@pytest.mark.parametrize("name", ["featurize", "train", "cache"])
@pytest.mark.parametrize("as_package", [True, False], ids=["package", "module"])
def test_a_foreign_package_in_the_way_is_one_line_that_says_where(name, as_package, tmp_path):
    foreign = tmp_path / name / "__init__.py" if as_package else tmp_path / f"{name}.py"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("raise SystemExit('foreign code ran')")
    for ours in ("featurize", "train", "cache"):
        refused = command(ours, "--help", path=[tmp_path])
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
        assert f"another {name} is in the way, {foreign.resolve()}" in refused.stderr


@pytest.mark.parametrize(
    ("library", "package", "arguments"),
    [
        ("tensorflow", "train", ("fit", "CACHE", "--epochs", "1", "--run", "RUN")),
        ("sklearn", "train", ("crossval", "CACHE", "--folds", "2", "--run", "RUN")),
        ("librosa", "featurize", ("DATA", "--cache", "CACHE", "--check", "2")),
    ],
)
def test_a_command_that_lacks_its_extra_says_what_installs_it(
    library, package, arguments, tones, tones_cache, tmp_path
):
    given = [
        {"CACHE": str(tones_cache), "DATA": str(tones), "RUN": str(tmp_path / "run")}.get(word, word)
        for word in arguments
    ]
    code = f"import sys, runpy; sys.modules[{library!r}] = None; sys.argv = [{package!r}, *sys.argv[1:]]\n"
    line = [sys.executable, "-c", code + f"runpy.run_module({package!r}, run_name='__main__')", *given]
    refused = done(*line)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
    assert (
        f"this needs {library}, which is not installed; install it with `pip install 'melcache[train]'`"
        in refused.stderr
    )
    assert not list(tmp_path.iterdir()), "something was begun that cannot be finished"


@pytest.mark.parametrize("name", ["featurize", "train"])
def test_a_cache_module_beside_the_user_is_named_by_the_modules_too(name, tmp_path):
    (tmp_path / "cache.py").write_text("")
    refused = done(sys.executable, "-m", name, "--help", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert f"another cache is in the way, {tmp_path / 'cache.py'}; rename it, or run this elsewhere" in refused.stderr
