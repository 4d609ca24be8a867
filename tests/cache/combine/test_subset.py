"""subset(): to the bit what featurize makes of the clips that are taken, or the reason why not."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import cache.__main__ as command
from cache import merge, open_cache, subset
from cache.labels.corrections import FILE, Decision
from cache.shared.errors import UserError
from tests.helpers.derived import CLASSES, assert_equal, assert_up_to_date, correct, labelled, link, made, quiet, write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Clips of three classes at two sites, and a file that is not audio."""
    for i in range(18):
        write(tmp_path / "data" / CLASSES[i % 3] / f"site{i // 6}" / f"{i}.wav", i)
    (tmp_path / "data/bee/site1/bad.wav").write_bytes(b"not audio")
    return tmp_path / "data"


@pytest.mark.parametrize("classes", ["bee", "cow,ant", "ant,bee,cow", "bee,cow,ant"])
@pytest.mark.parametrize("most", [None, 2, 4])
def test_some_classes_and_so_many_clips_are_those_that_featurize_takes(
    classes: str, most: int | None, data: Path, tmp_path: Path
) -> None:
    whole = made(data, tmp_path / "f.h5")
    part = subset(whole.file, tmp_path / "part.h5", classes=classes, max_per_class=most, notify=quiet)
    assert_equal(part, made(data, tmp_path / "expected.h5", classes=classes, max_per_class=most))
    assert_up_to_date(data, part.file)


def test_clips_whose_path_holds_a_text_are_as_if_they_were_alone_and_that_is_said_not_to_be_remembered(
    data: Path, tmp_path: Path
) -> None:
    whole = made(data, tmp_path / "f.h5")
    said: list[str] = []
    part = subset(whole.file, tmp_path / "part.h5", where="/site[12]/", notify=said.append)
    for file in data.glob("*/site[12]/*"):
        link(file, data, tmp_path / "alone")
    expected = made(tmp_path / "alone", tmp_path / "expected.h5")
    assert part.header.data_dir == "data"
    assert part.fingerprint == expected.fingerprint
    assert part.X.tobytes() == expected.X.tobytes()
    assert part.columns["inode"].tolist() == expected.columns["inode"].tolist()
    assert part.rejections == expected.rejections != []
    assert said == ["--where is not remembered: featurize would add the other clips of DATA to part.h5"]


def test_a_class_of_which_nothing_is_left_goes_unless_it_was_named(data: Path, tmp_path: Path) -> None:
    whole = made(data, tmp_path / "f.h5")
    said: list[str] = []
    part = subset(whole.file, tmp_path / "part.h5", where="^(ant|bee)/site0", notify=said.append)
    assert part.class_names == ("ant", "bee")
    assert said[0] == "no clip is left of cow, so that is not a class of part.h5"
    with pytest.raises(UserError, match="no clip is left of cow; leave the class out"):
        subset(whole.file, tmp_path / "p.h5", classes="ant,cow", where="^ant", notify=quiet)


def test_segments_are_chosen_by_their_recording_and_background_goes_with_its_class(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tables = [labelled(data, "aabb", 1), labelled(data, "abcb", 2)]
    whole = made(data, tmp_path / "f.h5", labels=tables, background=2)
    part = subset(whole.file, tmp_path / "part.h5", classes=["bee", "ant"], notify=quiet)
    expected = made(data, tmp_path / "expected.h5", labels=tables, classes="bee,ant", background=0)
    assert_equal(part, expected)
    assert_up_to_date(data, part.file)
    one = subset(whole.file, tmp_path / "one.h5", where=r"1\.wav$", notify=quiet)
    assert {path.split("#")[0] for path in one.paths} == {"rec/1.wav"}
    assert one.class_names == ("ant", "bee", "background")


def test_a_clip_that_was_corrected_to_a_class_that_is_not_taken_is_rejected_as_featurize_does(
    data: Path, tmp_path: Path
) -> None:
    whole = made(data, tmp_path / "f.h5")
    for path, new in (("ant/site0/0.wav", "bee"), ("cow/site0/2.wav", "bee"), ("bee/site0/1.wav", "cow")):
        correct(tmp_path / FILE, whole, path, Decision.CHANGE, new)
    whole = made(data, tmp_path / "f.h5")
    part = subset(whole.file, tmp_path / "part.h5", classes="bee,ant", notify=quiet)
    expected = made(data, tmp_path / "expected.h5", classes="bee,ant")
    assert_equal(part, expected)
    assert part.n_corrected == 1
    assert ("bee/site0/1.wav", "reviewed: ann heard cow, which is not one of the classes") in part.rejections
    (tmp_path / FILE).unlink()
    with pytest.raises(UserError, match=r"bee/site0/1\.wav was corrected, and its correction is not beside"):
        subset(whole.file, tmp_path / "other.h5", classes="bee,ant", notify=quiet)


def test_parts_of_a_cache_make_it_again(data: Path, tmp_path: Path) -> None:
    whole = made(data, tmp_path / "f.h5")
    rng = np.random.default_rng(0)
    for n in range(4):
        numbers = rng.permutation(18)
        parts = [
            subset(whole.file, tmp_path / f"{n}-{k}.h5", where=f"/({'|'.join(map(str, some))})[.]|bad", notify=quiet)
            for k, some in enumerate(np.array_split(numbers, n + 2))
        ]
        assert_equal(merge([part.file for part in parts], tmp_path / f"{n}.h5", notify=quiet), whole)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"where": "site9"}, "no path of a clip in .* matches 'site9'"),
        ({"where": "("}, r"'\(' is not a regular expression \(missing \), unterminated subpattern at position 0\)"),
        ({"classes": "ant,owl"}, "has no class owl; it has ant, bee, cow"),
        ({"classes": ["ant", "ant"]}, "a class is named twice: ant, ant"),
        ({"max_per_class": 5}, "was made with --max-per-class 4; ask for no more"),
        ({"max_per_class": 0}, "was made with --max-per-class 4; ask for no more"),
    ],
)
def test_what_cannot_be_taken_is_said_and_nothing_is_written(
    options: dict[str, str], error: str, data: Path, tmp_path: Path
) -> None:
    whole = made(data, tmp_path / "f.h5", max_per_class=4)
    with pytest.raises(UserError, match=error):
        subset(whole.file, tmp_path / "part.h5", notify=quiet, **options)
    assert {file.name for file in tmp_path.iterdir()} == {"data", "f.h5"}


def test_the_commands_say_what_they_made(data: Path, tmp_path: Path) -> None:
    file = made(data, tmp_path / "f.h5").file
    run = CliRunner().invoke
    part = str(tmp_path / "part.h5")
    done = run(command.app, ["subset", str(file), "--out", part, "--classes", "bee,ant", "--max-per-class", "3"])
    assert (done.exit_code, done.stderr) == (0, "")
    size = (tmp_path / "part.h5").stat().st_size / 1000
    assert done.stdout == f"bee                3 clips\nant                3 clips\n{part}: {size:.1f} kB, 6 clips\n"
    other = str(tmp_path / "other.h5")
    done = run(command.app, ["subset", str(file), "--out", other, "--where", "^cow", "--classes", "cow", "--json"])
    assert json.loads(done.stdout)["n_per_class"] == {"cow": 6}
    done = run(command.app, ["merge", other, other, "--out", str(tmp_path / "both.h5"), "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    assert_equal(open_cache(tmp_path / "both.h5"), open_cache(other))


def test_of_a_disk_that_is_full_not_even_the_corrections_are_left(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(data, tmp_path / "f.h5")
    correct(tmp_path / FILE, whole, whole.paths[0], Decision.RIGHT)
    (tmp_path / "out").mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cache.file.publish.gather_rows", full)
    with pytest.raises(UserError, match="nothing is left of it"):
        subset(whole.file, tmp_path / "out/part.h5", classes=["bee"], notify=quiet)
    assert [file.name for file in (tmp_path / "out").iterdir() if file.suffix != ".lock"] == []
    monkeypatch.undo()
    subset(whole.file, tmp_path / "out/part.h5", classes=["bee"], notify=quiet)
    assert (tmp_path / "out" / FILE).read_text() == (tmp_path / FILE).read_text()
