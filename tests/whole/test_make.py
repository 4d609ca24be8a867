"""The Makefile: what it lists, which environment it takes, and what `make clean` leaves alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

THIS_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def make(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    # Free of what a `make test` around us hands down.
    handed_down = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in handed_down}
    return subprocess.run(["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def environment_of_version(folder: Path, minor: str) -> None:
    """Lay out just so much of an environment as make looks at."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(f"version = {minor}.5\n")
    (folder / "installed").write_text("")


def test_make_alone_lists_every_target_and_every_target_is_phony(checkout: Path) -> None:
    listed = re.findall(r"^make ([a-z-]+) +\S", make(cwd=checkout).stdout, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert {"demo", "install", "features", "train", "test", "lint", "bench", "clean"} <= set(listed)
    assert set(listed) == set(phony[1].split())


def test_make_fuzz_runs_every_file_that_tries_more_of_the_same_then(checkout: Path) -> None:
    environment_of_version(checkout / ".venv", THIS_MINOR)
    shown = make("-n", "fuzz", cwd=checkout).stdout
    assert re.match(r"FUZZ_EXAMPLES=\d+ ", shown)
    ask = re.compile("^from tests.helpers.(amounts import|browser import .*SCREENS)", re.MULTILINE)
    asking = [file for file in (ROOT / "tests").rglob("test_*.py") if ask.search(file.read_text(encoding="utf-8"))]
    named = [word for word in shown.split() if word.startswith("tests/")]
    assert sorted(named) == sorted(f"{file.relative_to(ROOT).as_posix()}" for file in asking if file != Path(__file__))
    assert len(named) > 3


def test_a_python_that_does_not_work_is_named_and_nothing_is_made(checkout: Path) -> None:
    done = make("install", "PYTHON=no-such-python", cwd=checkout)
    assert done.returncode != 0
    assert "no-such-python" in done.stderr
    assert list(checkout.glob(".venv*")) == []


def test_an_environment_that_is_there_and_newer_than_the_lock_is_used_as_it_is(checkout: Path) -> None:
    environment_of_version(checkout / ".venv", "3.10")
    assert make("-n", "lint", cwd=checkout).stdout.startswith(".venv/bin/python -m ruff")


def test_an_environment_older_than_the_lock_is_brought_up_to_it(checkout: Path) -> None:
    environment_of_version(checkout / ".venv", THIS_MINOR)
    os.utime(checkout / ".venv" / "installed", (0, 0))
    assert "--require-hashes -r requirements.lock" in make("-n", "lint", cwd=checkout).stdout


def test_another_python_gets_an_environment_of_its_own(checkout: Path) -> None:
    environment_of_version(checkout / ".venv", "3.10")
    environment_of_version(checkout / f".venv-{THIS_MINOR}", THIS_MINOR)
    shown = make("-n", "lint", f"PYTHON={sys.executable}", cwd=checkout).stdout
    assert shown.startswith(f".venv-{THIS_MINOR}/bin/python -m ruff")


def test_the_same_python_keeps_to_the_usual_environment(checkout: Path) -> None:
    environment_of_version(checkout / ".venv", THIS_MINOR)
    assert make("-n", "lint", f"PYTHON={sys.executable}", cwd=checkout).stdout.startswith(".venv/bin/python -m ruff")


def test_make_clean_deletes_what_the_demo_made_and_nothing_of_the_users(checkout: Path) -> None:
    mine = ["data/dog/rex.wav", "data/features.h5", "data/synthetic/dog/rex.wav", "runs/first/model.keras"]
    made = ["data/synthetic/dog/synthetic_dog_s0_000.wav", "data/synthetic/cat/synthetic_cat_s1_012.flac"]
    made += ["data/synthetic/features.h5", "data/synthetic/run/model.keras", "cache/__pycache__/layout.pyc"]
    mine.append(".venv/lib/__pycache__/typer.pyc")
    for name in (*mine, *made):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(name)
    done = make("clean", cwd=checkout)
    assert done.returncode == 0, done.stderr
    assert "data/synthetic" in done.stdout
    assert [name for name in mine if not (checkout / name).exists()] == []
    assert [name for name in made if (checkout / name).exists()] == []
    assert not (checkout / "data/synthetic/cat").exists()
