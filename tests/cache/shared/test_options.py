"""A value of the command line that cannot be meant is refused in one line that names it."""

from pathlib import Path

import pytest

from tests.helpers.commands import cache_here, featurize_here, train_here


@pytest.mark.parametrize(
    ("run", "words", "named"),
    [
        (featurize_here, [""], "data"),
        (featurize_here, [".", "--cache", ""], "--cache"),
        (featurize_here, [".", "--labels", "x", "--labels", ""], "--labels"),
        (featurize_here, [".", "--scheduler", ""], "--scheduler"),
        (cache_here, ["info", ""], "file"),
        (cache_here, ["merge", "a.h5", "", "--out", "b.h5"], "FILES"),
        (train_here, ["predict", "run", ""], "PATH"),
        (train_here, ["review", "run", ""], "RECORDING"),
        (train_here, ["compare", ""], "RUN"),
        (train_here, ["fit", "f.h5", "--run", ""], "--run"),
        (train_here, ["sweep", "f.h5", "--runs", ""], "--runs"),
    ],
)
def test_an_empty_name_is_not_the_working_directory(  # type: ignore[no-untyped-def]
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run, words: list[str], named: str
) -> None:
    """A variable of a script that is not set gives one, and `Path("")` is the folder one is in."""
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f": Invalid value for {named}: it is empty (see `python -m " in line
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--profile", "frogs"],
            "--profile: 'frogs' is not one of 'speech', 'birds', 'bats', 'insects', 'whales' ",
        ),
        (["--max-per-class", "few"], "--max-per-class: few is not a valid integer (see"),
        (["--jobs", "-1"], "--jobs: -1 is not greater than or equal to 1 (see"),
        (["--overlap", "nan"], "--overlap: nan is not less than or equal to 0.99 (see"),
    ],
)
def test_a_value_that_does_not_fit_is_named_beside_what_fits(words: list[str], complaint: str) -> None:
    done = featurize_here(".", *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"python -m featurize: Invalid value for {complaint}" in line
