"""A label goes to the recording that its table means, and to none of the same name in another place."""

from pathlib import Path

import pytest

from cache.labels.annotation import told
from cache.labels.read import read_labels

NIGHT = "20260501_220000.WAV"


def rec(tmp_path: Path, *names: str) -> Path:
    """A folder with recordings; nobody opens them to read labels."""
    for name in names:
        (tmp_path / "rec" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "rec" / name).touch()
    return tmp_path / "rec"


def table(file: Path, *names: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["file,start,end,label", *(f"{name},1,2,frog" for name in names)]) + "\n")
    return file


def track(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("1\t2\tfrog\n")
    return file


def found(tables: Path, recordings: Path) -> tuple[list[str], list[str]]:
    labels = read_labels([tables], recordings)
    return [str(Path(one.file).relative_to(recordings)) for one in labels.annotations], told(labels.problems)


def test_a_recording_of_the_same_name_in_another_folder_is_not_taken(tmp_path: Path) -> None:
    data = rec(tmp_path, f"B/{NIGHT}")
    for name in (f"A/{NIGHT}", f"A\\{NIGHT}", f"./A/{NIGHT}", f"rec/A/{NIGHT}"):
        file = table(tmp_path / "t.csv", name)
        labels, said = found(file, data)
        assert labels == []
        assert len(said) == 1
        assert f"there is no recording {name}; there is B/{NIGHT}; skipped" in said[0]
    assert found(table(tmp_path / "t.csv", f"A/{NIGHT}"), data / "B")[0] == []
    assert found(table(data / "B" / "t.csv", f"A/{NIGHT}"), data / "B")[0] == []


@pytest.mark.parametrize("where", ["rec", "rec/site", "elsewhere"])
def test_a_bare_name_is_found_below_the_folder_of_recordings_wherever_its_table_lies(
    where: str, tmp_path: Path
) -> None:
    data = rec(tmp_path, "site/deep/n0.wav")
    assert found(table(tmp_path / where / "t.csv", "n0.wav"), data) == (["site/deep/n0.wav"], [])


def test_a_path_that_goes_up_is_one_from_somewhere_else_too(tmp_path: Path) -> None:
    data = rec(tmp_path, "A/n0.wav", "B/n1.wav")
    names = ("../rec/A/n0.wav", "../../A/n0.wav", "..\\n1.wav", "../B/n0.wav")
    assert found(table(tmp_path / "tables/t.csv", *names), data)[0] == ["A/n0.wav", "B/n1.wav"]


def test_the_folder_of_a_table_tells_the_place_of_its_recording(tmp_path: Path) -> None:
    data, tables = rec(tmp_path, f"B/{NIGHT}"), tmp_path / "tables"
    for name in ("A/20260501_220000.txt", "A/all.csv"):
        file = track(tables / name) if name.endswith("txt") else table(tables / name, NIGHT)
        labels, [said] = found(tables, data)
        assert labels == []
        assert f"there is B/{NIGHT}; skipped" in said
        file.unlink()
    track(tables / "B/20260501_220000.txt")
    assert found(tables, data) == ([f"B/{NIGHT}"], [])
    rec(tmp_path, f"A/{NIGHT}")
    assert found(tables, data) == ([f"B/{NIGHT}"], [])
    assert found(tables / "B/20260501_220000.txt", data) == ([f"B/{NIGHT}"], [])
    (data / "A" / NIGHT).rename(data / "A/other.WAV")
    assert found(track(tables / "A/20260501_220000.txt"), data)[0] == []


def test_a_folder_that_says_what_is_in_it_tells_no_place(tmp_path: Path) -> None:
    data = rec(tmp_path, "site1/wav/n0.wav", "site2/wav/n0.wav")
    track(data / "site1/labels/n0.txt")
    assert found(data, data) == (["site1/wav/n0.wav"], [])


@pytest.mark.parametrize("prefix", ["C:\\Users\\me\\nights\\", "/home/me/nights/", "\\\\server\\nights\\"])
def test_a_path_of_another_machine_is_taken_by_its_name_if_nothing_speaks_against_it(
    prefix: str, tmp_path: Path
) -> None:
    data = rec(tmp_path, "n0.wav", "site/n1.wav")
    labels, said = found(table(tmp_path / "t.csv", f"{prefix}n0.wav", f"{prefix}n1.wav"), data)
    assert labels == ["n0.wav", "site/n1.wav"]
    assert [line.rpartition(" is taken for ")[2] for line in said] == ["n0.wav", "site/n1.wav"]
    # A folder that is here, and is not that of the recording.
    rec(tmp_path, "nights/n2.wav")
    assert found(table(tmp_path / "t.csv", f"{prefix}n1.wav"), data)[0] == []
    # Another site's recording of the same name.
    rec(tmp_path, "pond/n3.wav")
    assert found(table(tmp_path / "t.csv", f"{prefix}lake\\n3.wav", f"{prefix}pond\\n3.wav"), data)[0] == [
        "pond/n3.wav"
    ]


def test_of_several_recordings_of_a_name_the_folders_decide_or_all_are_named(tmp_path: Path) -> None:
    data = rec(tmp_path, "A/n0.wav", "B/n0.wav", "B/C/n0.wav")
    assert found(table(tmp_path / "t.csv", "A/n0.wav", "C/n0.wav", "D:\\x\\B\\C\\n0.wav"), data)[0] == [
        "A/n0.wav",
        "B/C/n0.wav",
    ]
    _, [said] = found(table(tmp_path / "t.csv", "n0.wav"), data)
    assert "there are several recordings called n0.wav (A/n0.wav, B/C/n0.wav, B/n0.wav)" in said


def test_a_name_may_differ_in_case_and_then_in_ending_if_one_recording_fits(tmp_path: Path) -> None:
    data = rec(tmp_path, "n0.wav", "n1.flac", "twice.wav", "twice.flac", "Case.wav", "case.flac")
    names = ("N0.WAV", "n1.wav", "N1.WAV", "twice.mp3", "case.wav", "n0", "N0")
    labels, said = found(table(tmp_path / "t.csv", *names), data)
    assert sorted(labels) == ["Case.wav", "n0.wav", "n1.flac"]
    assert sum("is taken for" in line for line in said) == 5
    assert sum("there are several recordings called twice.mp3" in line for line in said) == 1
    track(tmp_path / "N1.txt")
    assert found(tmp_path / "N1.txt", data) == (["n1.flac"], [f"{tmp_path}/N1.txt:1: N1 is taken for n1.flac"])


@pytest.mark.parametrize("name", [".", "/", "\\", "..", "a/..", "./", "x" * 5000, "a/" * 2000 + "n0.wav"])
def test_a_cell_that_cannot_be_the_name_of_a_file_is_one_bad_line(name: str, tmp_path: Path) -> None:
    data = rec(tmp_path, "n0.wav")
    labels, said = found(table(tmp_path / "t.csv", name, "n0.wav"), data)
    assert labels == ["n0.wav"]
    assert len(said) == 1


def test_tables_behind_a_link_are_read_once_and_a_circle_ends(tmp_path: Path) -> None:
    data = rec(tmp_path, "n0.wav", "n1.wav")
    track(tmp_path / "elsewhere/n0.txt")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "tables")
    assert found(tmp_path / "tables", data) == (["n0.wav"], [])
