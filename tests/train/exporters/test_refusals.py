"""export: what is refused before anything is converted."""

import sys
from pathlib import Path

import pytest
import typer.testing

from cache.shared.errors import UserError
from train import export
from train.exporters.formats import ExportFormat, ExportInput

WAVEFORM = ExportInput.waveform


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("mine")
    folder.mkdir()
    link.symlink_to(tmp_path / "nowhere")
    for out in (file, folder, link):
        with pytest.raises(UserError, match="exists already"):
            export(run, out, ExportFormat.onnx, WAVEFORM)
    assert file.read_text() == "mine"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "module", "package"),
    [
        ("onnx", "tf2onnx", "tf2onnx"),
        ("onnx", "onnxruntime", "onnxruntime"),
        ("tflite", "ai_edge_litert", "ai-edge-litert"),
    ],
)
def test_a_missing_package_is_one_line_that_says_how_to_install_it(
    format: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"--format {format} needs {package}, .*pip install 'melcache\[export\]'"):
        export(tmp_path / "run", tmp_path / "out", ExportFormat(format), WAVEFORM)


def test_an_unknown_format_is_bad_usage_that_lists_the_known_ones(run: Path, tmp_path: Path) -> None:
    from train.__main__ import app

    done = typer.testing.CliRunner().invoke(app, ["export", str(run), str(tmp_path / "out"), "--format", "torch"])
    assert done.exit_code == 2
    assert all(format in done.output for format in ExportFormat)
