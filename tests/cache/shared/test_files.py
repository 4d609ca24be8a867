"""Files are read only if they are files, replaced whole or not at all, and nothing is written through a link."""

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheError, open_cache
from cache.file.journal import open_journal
from cache.shared.errors import UserError
from cache.shared.files import (
    folder_beside,
    open_regular,
    own_folder,
    read_lines,
    read_text,
    replacing,
    sha256_of,
    write_file,
)
from train.runs.record import read_record
from train.runs.tables import read_history, read_predictions, read_split


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(file: Path, error: type[BaseException]) -> None:
    file.write_text("new")
    raise error


def test_a_file_is_made_or_replaced_when_its_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    for content in ("first", "second"):
        before = file.read_text() if file.exists() else None
        with replacing(file) as beside:
            beside.write_text(content)
            assert (file.read_text() if file.exists() else None) == before
        assert file.read_text() == content
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(error), replacing(file) as beside:
        write_half(beside, error)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_replaced_and_what_it_leads_to_is_not_touched(tmp_path: Path, exists: bool) -> None:
    victim = tmp_path / "victim"
    if exists:
        victim.write_text("precious")
    file = tmp_path / "table.csv"
    file.symlink_to(victim)
    with replacing(file) as beside:
        beside.write_text("new")
    assert not file.is_symlink()
    assert file.read_text() == "new"
    assert (victim.read_text() if victim.exists() else None) == ("precious" if exists else None)


def test_a_link_under_the_name_of_the_new_file_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)  # so that the name can be guessed
    with replacing(tmp_path / "table.csv") as beside:
        guessed = beside
    victim = tmp_path / "victim"
    victim.write_text("precious")
    guessed.symlink_to(victim)
    with pytest.raises(FileExistsError), replacing(tmp_path / "table.csv") as beside:
        beside.write_text("new")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("made", [replacing, folder_beside])
def test_an_error_of_the_disk_names_the_file_that_was_asked_for(
    tmp_path: Path, made: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    with pytest.raises(OSError, match="No such file") as error, made(tmp_path / "gone" / "sheet.png"):
        pass
    assert error.value.filename == str(tmp_path / "gone" / "sheet.png")


def test_a_folder_beside_a_file_is_hidden_and_goes_with_its_block(tmp_path: Path) -> None:
    with folder_beside(tmp_path / "model.onnx") as folder:
        (folder / "part").write_text("x")
        assert [file.name[0] for file in tmp_path.iterdir()] == ["."]
    assert not [*tmp_path.iterdir()]


def test_two_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    with replacing(file) as first, replacing(file) as second:
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first"
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("name", ["model.keras", "latest.weights.h5", "n" * 251 + ".csv", "ü" * 125 + ".csv"])
def test_the_new_file_is_hidden_and_its_name_ends_as_the_file_does(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as beside:
        assert beside.name.startswith(".")
        assert beside.name.endswith(name[-10:])
    assert names(tmp_path) == [name]


def test_a_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "file", sync=True):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("content", ["Kauz, Käuzchen\n", b"\xff\x00"])
def test_a_file_that_is_written_has_the_content_and_its_digest(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "a.txt"
    file.symlink_to(tmp_path / "elsewhere")
    write_file(file, content)
    expected = content.encode() if isinstance(content, str) else content
    assert file.read_bytes() == expected
    assert sha256_of(file) == hashlib.sha256(expected).hexdigest()
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


def test_a_folder_that_is_a_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "figures") == own_folder(tmp_path / "figures")
    (tmp_path / "elsewhere").mkdir()
    for target in ("elsewhere", "nowhere"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(UserError, match=f"to-{target} is a link"):
            own_folder(link)
    assert not (tmp_path / "nowhere").exists()


ODD_FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe"))[1],
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}


@pytest.fixture
def odd_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    ODD_FILES[request.param](tmp_path / "odd")
    return tmp_path / "odd"


@pytest.mark.parametrize("odd_file", ODD_FILES, indirect=True)
@pytest.mark.parametrize("read", [open_regular, read_text, read_lines])
def test_what_is_not_a_regular_file_is_refused_and_nobody_waits(odd_file: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(UserError, match="odd is not a regular file"):
        read(odd_file)


@pytest.mark.parametrize("odd_file", ODD_FILES, indirect=True)
def test_no_file_of_a_run_or_beside_a_cache_makes_a_command_wait(odd_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("run.json", "split.csv", "history.csv", "predictions.csv", "content.csv"):
        odd_file.rename(run / name)
        for read in (read_record, read_split, read_history, lambda run: read_predictions(run, ("dog",))):
            with pytest.raises(UserError):
                read(run)
        (run / name).rename(odd_file)
    with pytest.raises(CacheError, match="odd: it is not a file; give the cache"):
        open_cache(odd_file)
    odd_file.rename(tmp_path / "features.h5.partial.journal")
    with pytest.raises(UserError, match="not a regular file"):
        open_journal(tmp_path / "features.h5", {}, np.dtype("<f4"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_text_is_read_in_every_encoding_and_with_every_end_of_line(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "table.txt"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    # Only these three end a line: to str.splitlines() the others do, too.
    lines = ["Grünspecht\t1", "one\u2028two\x0b\x1cthree", "", "läuft", ""]
    file.write_bytes((mark + end.join(lines)).encode(encoding))
    assert read_lines(file) == lines
    assert read_text(file) == end.join(lines)


@pytest.mark.parametrize("content", ["Grünspecht".encode("latin-1"), b"RIFF\0\0\0\0WAVE", "a".encode("utf-16-le")])
def test_a_file_that_is_not_text_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.txt is not UTF-8 text; save it again with the encoding UTF-8"):
        read_text(tmp_path / "notes.txt")


def test_a_text_is_read_up_to_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("0123456789")
    assert read_text(file, 10) == "0123456789"
    with pytest.raises(UserError, match=r"notes\.txt is larger than the 9 B that are read"):
        read_text(file, 9)
    with file.open("wb") as sparse:
        sparse.truncate(10**12)
    with pytest.raises(UserError, match=r"notes\.txt is larger than the 100.0 MB"):
        read_lines(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.txt cannot be read \(No such file or directory\)"):
        read_text(tmp_path / "gone.txt")
