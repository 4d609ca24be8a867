"""Files are replaced whole or not at all, and nothing is written through a link."""

import os
import stat
from pathlib import Path

import pytest

from cache.shared.errors import UserError
from cache.shared.files import own_folder, replacing


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


def test_a_folder_that_is_a_link_is_refused_wherever_it_leads(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "figures") == own_folder(tmp_path / "figures")
    (tmp_path / "elsewhere").mkdir()
    for target in ("elsewhere", "nowhere"):
        link = tmp_path / f"to-{target}"
        link.symlink_to(tmp_path / target)
        with pytest.raises(UserError, match=f"to-{target} is a link"):
            own_folder(link)
    assert not (tmp_path / "nowhere").exists()
