"""python -m train as its user meets it: what is on the screen, and what a run is worth without this project."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.testing

from tests import ROOT
from tests.helpers.commands import train, train_here
from train.__main__ import app


@pytest.fixture(scope="module")
def fitted(tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> "subprocess.CompletedProcess[str]":
    run = tmp_path_factory.mktemp("command") / "run"
    return train("fit", tones_cache, "--run", run, "--epochs", "1", "--test", "0.25", "--json")


def test_json_is_one_object_on_stdout_and_nothing_but_our_warnings_is_on_stderr(
    fitted: "subprocess.CompletedProcess[str]",
) -> None:
    assert fitted.returncode == 0, fitted.stderr
    result = json.loads(fitted.stdout)
    assert {"run", "accuracy", "macro_f1", "n", "confusion", "per_class", "interval"} <= result.keys()
    assert all(line.startswith("warning: ") for line in fitted.stderr.splitlines())
    assert len(fitted.stderr.splitlines()) == len(result["warnings"])


def test_a_fit_ends_with_its_report_which_can_be_written_again(
    fitted: "subprocess.CompletedProcess[str]",
) -> None:
    page = Path(json.loads(fitted.stdout)["run"]) / "report.html"
    assert page.stat().st_size > 50_000
    page.unlink()
    done = train_here("report", page.parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{page}\n", "")
    assert page.stat().st_size > 50_000


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["predict", "run", "a.wav", "--window", "1", "--window", "2"], "--window"),
        (["predict", "run", "a.wav", "--format", "csv", "--format", "json"], "--format"),
        (["export", "run", "out", "--format", "onnx", "--format", "tflite"], "--format"),
        (["evaluate", "run", "--json", "--json"], "--json"),
        (["report", "run", "--cache", "a.h5", "--cache", "b.h5"], "--cache"),
        (["compare", "run", "--sort", "run", "--sort", "seconds"], "--sort"),
    ],
)
def test_an_option_that_is_given_twice_is_refused_by_name(arguments: list[str], option: str) -> None:
    done = typer.testing.CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "given twice" in done.output
    assert option in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["fit", "missing.h5"], 1, "no such cache"),
        (["fit", "missing.h5", "--model", "nonsense"], 1, "there is no model 'nonsense'"),
        (["fit", "--epochs", "0"], 2, "--epochs"),
        (["fit", "--resume", "missing"], 1, "no such run"),
        (["fit", "--resume", "missing", "--seed", "1"], 2, "leave out --seed"),
        (["evaluate", "missing"], 1, "no such run"),
        (["predict", "missing", "clip.wav"], 1, "no such run"),
        (["report", "missing"], 1, "no such run"),
        (["crossval", "missing.h5", "--folds", "1"], 2, "--folds"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(arguments: list[str], code: int, complaint: str) -> None:
    done = train_here(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m train: ")
    assert complaint in line


def test_a_process_ends_as_a_command_here_does() -> None:
    arguments = ("fit", "missing.h5")
    there, here = train(*arguments), train_here(*arguments)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert here.returncode == 1


def test_no_help_of_a_command_loads_what_only_training_needs() -> None:
    code = (
        "import sys\n"
        "from train.__main__ import app\n"
        "from typer.testing import CliRunner\n"
        "for name in ('fit', 'crossval', 'evaluate', 'predict', 'report', 'summary'):\n"
        "    assert CliRunner().invoke(app, [name, '--help']).exit_code == 0\n"
        "heavy = {'tensorflow', 'keras', 'librosa', 'sklearn', 'h5py', 'numpy', 'scipy', 'matplotlib', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_fit_that_is_told_to_stop_says_in_one_line_what_it_kept_and_how_to_go_on(
    tones_cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "train", "fit", tones_cache, "--run", run, "--epochs", "1000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (run / "checkpoint" / "latest.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert stdout == ""
    (line,) = stderr.splitlines()
    assert f"python -m train fit --resume {run}" in line
    assert len((run / "history.csv").read_text().splitlines()) >= 2
    assert json.loads((run / "run.json").read_text())["state"] == "unfinished"
