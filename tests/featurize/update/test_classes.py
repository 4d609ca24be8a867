"""Which classes a cache has, and what becomes of folders, labels and classes that give no clip."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from cache.look.changes import changes
from cache.shared.errors import UserError
from featurize import build
from featurize.update import summary
from featurize.update.update import Result
from tests.helpers.sounds import noise

SECONDS = 10


def write(data: Path, *paths: str, seconds: float = 0.1) -> None:
    for seed, path in enumerate(paths):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(data / path, noise(round(seconds * 16000), seed=seed), 16000)


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Two recordings without labels."""
    write(tmp_path / "field", "n0.wav", "n1.wav", seconds=SECONDS)
    return tmp_path / "field"


def track(file: Path, *labels: tuple[float, float, str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{start}\t{end}\t{name}\n" for start, end, name in labels))
    return file


def run(data: Path, **options: object) -> tuple[Result, list[str]]:
    said: list[str] = []
    return build(data, data.parent / "f.h5", notify=said.append, **options), said  # type: ignore[arg-type]


def classes_of(cache: Cache) -> dict[str, str]:
    return {path: cache.class_names[label] for path, label in zip(cache.paths, cache.labels, strict=True)}


def test_labels_of_which_none_can_be_used_are_an_error_with_each_reason_and_no_folder_takes_their_place(
    field: Path,
) -> None:
    write(field, "site/a.wav", seconds=1)
    tables = field.parent / "tables"
    track(tables / "other.txt", (1, 2, "dog"))
    track(tables / "n0.txt", (3, 3, "cat"))
    (tables / "lost.csv").write_text("file,start,end,label\nC:\\nights\\n7.wav,1,2,dog\nn1.wav,0:01.x,2,cat\n")
    with pytest.raises(UserError, match="none of the labels can be used") as error:
        run(field, labels=tables)
    for words in ("other.txt:1", "n0.txt:1", "point label at 3 s", "lost.csv:2", "n7.wav", "lost.csv:3"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (field.parent / "f.h5").exists()


def test_folders_are_classes_beside_labels_only_if_they_are_asked_for(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "frog"))
    write(field, *(f"{name}/{i}.wav" for name in ("dog", "cat", "bird", "site") for i in (0, 1)), "frog/x.wav")
    result, said = run(field, labels=field)
    assert result.cache.n_per_class == {"frog": 2}
    assert any(line.startswith("8 audio files without labels are skipped: 2 in bird, 2 in cat") for line in said)
    assert any(f'the folder {field / "frog"} belong to the class "frog": 1' in line for line in said)
    named, _ = run(field, classes=["dog", "frog"])
    assert named.cache.n_per_class == {"dog": 2, "frog": 2}
    everything, _ = run(field, classes="all")
    assert everything.cache.n_per_class == {"dog": 2, "frog": 2, "bird": 2, "cat": 2, "site": 2}


def test_what_cannot_be_read_in_tables_is_said_when_a_new_cache_is_made(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "frog"), (5, 4, "frog"))
    _, said = run(field, labels=field)
    assert any("n0.txt:2: it ends at 4 s, before its start at 5 s" in line for line in said)


def test_labels_that_are_no_class_of_the_cache_are_an_error_if_none_is(field: Path) -> None:
    write(field, "dog/0.wav", "cat/0.wav")
    run(field, classes="dog,cat")
    track(field / "n0.txt", (1, 2, "frog"))
    with pytest.raises(UserError, match="none of the labels is one of the classes dog, cat; the labels are frog"):
        run(field, labels=field)
    result, _ = run(field, labels=field, background=2)
    assert result.cache.n_per_class == {"dog": 1, "cat": 1, "background": 2}


def test_a_class_whose_labels_are_all_second_labels_is_left_out_with_the_true_reason(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "frog"), (1, 2, "cricket"), (5, 6, "frog"))
    result, said = run(field, labels=field)
    assert result.cache.n_per_class == {"frog": 2}
    reason = '"cricket" labels the same segment as "frog" in n0.txt:1, and a clip has one class'
    assert f"cricket has no usable clip (n0.txt:2: {reason}), so it is not a class of the cache" in said
    again, _ = run(field)
    assert (again.n_computed, again.cache.fingerprint) == (0, result.cache.fingerprint)
    with pytest.raises(UserError, match=r'cricket has no usable clip \(n0\.txt:2: "cricket" labels the same segment'):
        run(field, classes="frog,cricket")


def test_a_class_whose_only_label_lies_past_the_end_is_left_out_and_the_others_go_on(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "ant"), (SECONDS + 5, SECONDS + 6, "frog"), (3, 4, "owl"))
    result, said = run(field, labels=field)
    assert classes_of(result.cache) == {"n0.wav#1.000000-2.000000": "ant", "n0.wav#3.000000-4.000000": "owl"}
    [line] = [line for line in said if line.startswith("frog has no usable clip")]
    assert "n0.txt:2: it starts at 15.00 s" in line
    before = (field.parent / "f.h5").stat()
    again, _ = run(field)
    after = (field.parent / "f.h5").stat()
    assert (again.n_computed, before.st_ino, before.st_mtime_ns) == (0, after.st_ino, after.st_mtime_ns)
    with pytest.raises(UserError, match=r"frog has no usable clip \(n0\.wav#15\.0.*: n0\.txt:2: it starts at"):
        run(field, classes="ant,frog")
    everything, _ = run(field, classes="all")
    assert everything.cache.class_names == ("ant", "owl")


def test_a_limit_takes_labels_of_all_recordings_in_turn_and_the_same_at_every_run(field: Path) -> None:
    for name in ("n0", "n1"):
        track(field / f"{name}.txt", *((i, i + 0.5, "frog") for i in range(8)), (9, 9.5, "owl"))
    result, _ = run(field, labels=field, max_per_class=4)
    spans = [f"{name}.wav#{i}.000000-{i}.500000" for name in ("n0", "n1") for i in (0, 1)]
    assert [path for path, name in classes_of(result.cache).items() if name == "frog"] == spans
    assert result.cache.n_per_class == {"frog": 4, "owl": 2}
    odd, _ = run(field, max_per_class=3)
    assert [path for path, name in classes_of(odd.cache).items() if name == "frog"] == [spans[0], spans[1], spans[2]]
    write(field, "frog/a.wav", "frog/b.wav")
    mixed, _ = run(field)
    assert [path for path, name in classes_of(mixed.cache).items() if name == "frog"] == [
        "frog/a.wav",
        "frog/b.wav",
        spans[0],
    ]


def test_going_on_without_a_class_keeps_what_was_finished(field: Path) -> None:
    write(field, *(f"{name}/{i}.wav" for name in ("dog", "cat", "bird") for i in range(3)))
    run(field)
    result, _ = run(field, classes="bird,dog")
    assert (result.n_computed, result.n_reused, result.n_removed) == (0, 6, 3)
    assert classes_of(result.cache) == {f"{name}/{i}.wav": name for name in ("bird", "dog") for i in range(3)}


def test_audio_beside_the_class_folders_is_mentioned_everywhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write(data, "dog/0.wav", "cat/0.wav", "bird/0.wav", "loose.wav", "other.flac")
    (data / "notes.txt").write_text("it rained")
    result, _ = run(data)
    assert summary.as_json(result)["unclassed"] == ["loose.wav", "other.flac"]
    words = "skipped because they lie beside the class folders: loose.wav, other.flac"
    assert words in summary.as_text(result).splitlines()
    write(tmp_path / "split", "train/dog/0.wav", "train/stray.wav", "test/dog/1.wav")
    result, _ = run(tmp_path / "split", classes="dog")
    assert "skipped because it lies beside the class folders: train/stray.wav" in summary.as_text(result)


def test_labelled_recordings_in_data_itself_are_not_beside_the_classes(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "frog"))
    result, _ = run(field, labels=field)
    assert summary.as_json(result)["unclassed"] == ["n1.wav"]


def test_audio_in_data_alone_is_said_where_there_is_no_class(field: Path) -> None:
    with pytest.raises(UserError, match=r"no folder with audio in it; 2 audio files in .*field itself belong"):
        run(field)


def test_a_zip_file_of_windows_is_named_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("dog\\a.wav", "cat\\b.wav"):
        soundfile.write(tmp_path / "data" / name, noise(800), 16000)
    with pytest.raises(UserError, match="names with a backslash come from a ZIP file made by Windows: unpack"):
        run(tmp_path / "data")
    with pytest.raises(UserError, match="ZIP file made by Windows"):
        run(tmp_path / "data", classes="dog,cat")
    write(tmp_path / "data", "dog/0.wav", "cat/0.wav")
    assert "ZIP file made by Windows" in summary.as_text(run(tmp_path / "data")[0])


def test_widening_stays_within_the_recording_at_both_ends(field: Path) -> None:
    spans = [(0.0, 0.1, "tick"), (9.9, 10.0, "tick"), (20, 20.1, "tick")]
    spans += [(start, start + 2.0, "long") for start in (2, 3, 4, 5)]
    track(field / "n0.txt", *spans)
    result, _ = run(field, labels=field, widen=True)
    ticks = [path for path, name in classes_of(result.cache).items() if name == "tick"]
    assert ticks == ["n0.wav#0.000000-2.000000", "n0.wav#8.000000-10.000000"]
    assert not result.cache.columns["remark"][result.cache.paths.index(ticks[1])]
    [(_, reason)] = result.cache.rejections
    assert reason.startswith("it starts at")


def test_an_empty_table_says_that_nothing_calls_and_gives_background(field: Path) -> None:
    track(field / "n0.txt", (1, 2, "frog"))
    track(field / "n1.txt")
    result, _ = run(field, labels=field, background=3)
    found = [path.partition("#")[0] for path, name in classes_of(result.cache).items() if name == "background"]
    assert sorted(found) == ["n0.wav"] * 3 + ["n1.wav"] * 3
    (field / "n0.txt").unlink()
    (field.parent / "f.h5").unlink()
    quiet, _ = run(field, labels=field, background=1)
    assert quiet.cache.n_per_class == {"background": 1}
    assert np.allclose(quiet.cache.columns["duration"], 4.096)
    with pytest.raises(UserError, match="1 recording with an empty table: nothing calls there; --background takes"):
        build(field, field.parent / "g.h5", labels=[field])


def test_tables_behind_a_linked_folder_are_read(field: Path, tmp_path: Path) -> None:
    track(tmp_path / "elsewhere/n0.txt", (1, 2, "frog"))
    (field / "tables").symlink_to(tmp_path / "elsewhere")
    assert run(field, labels=field)[0].cache.paths == ["n0.wav#1.000000-2.000000"]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A class in two folders, and one in a folder of its own."""
    write(tmp_path / "data", *(f"{name}/{i}.wav" for name in ("Part1", "Part2", "cat") for i in range(3)))
    return tmp_path / "data"


def test_two_folders_as_one_class_are_remembered(parts: Path) -> None:
    result, _ = run(parts, classes="dog=Part1+Part2,cat")
    expected = {f"{part}/{i}.wav": "dog" for part in ("Part1", "Part2") for i in range(3)}
    expected |= {f"cat/{i}.wav": "cat" for i in range(3)}
    assert classes_of(result.cache) == expected
    assert changes(result.cache).state == "unchanged"
    again, said = run(parts)
    assert (again.n_computed, said, again.cache.fingerprint) == (0, [], result.cache.fingerprint)
    write(parts, "Part2/new.wav")
    assert changes(again.cache).n_new == 1
    more, _ = run(parts)
    assert classes_of(more.cache) == expected | {"Part2/new.wav": "dog"}
    swapped, _ = run(parts, classes="dog=Part1+cat,cat=Part2")
    assert (swapped.n_computed, swapped.cache.class_names) == (0, more.cache.class_names)
    assert swapped.cache.fingerprint != more.cache.fingerprint
    assert open_cache(parts.parent / "f.h5").header.members == {"dog": ("Part1", "cat"), "cat": ("Part2",)}


def test_a_limit_holds_for_a_class_of_several_folders_and_labels_join_it(parts: Path) -> None:
    result, _ = run(parts, classes="dog=Part1+Part2,cat", max_per_class=4)
    assert result.cache.n_per_class == {"dog": 4, "cat": 3}
    assert changes(result.cache).state == "unchanged"
    write(parts, "night.wav", seconds=2)
    track(parts / "night.txt", (0, 1, "bark"), (1, 2, "Part1"))
    labelled, _ = run(parts, classes="dog=Part1+bark,cat", labels=[parts], max_per_class=0)
    assert labelled.cache.n_per_class == {"dog": 5, "cat": 3}


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("dog=Part1+Part1,cat", "named twice"),
        ("dog=Part1+cat,cat", "named twice"),
        ("dog=Part1,dog=cat", "named twice"),
        ("dog=Part1+Part7,cat", "there is no folder .*Part7"),
        ("dog=,cat", "cannot be the name of a class"),
        ("=Part1,cat", "cannot be the name of a class"),
        ("..=Part1,cat", "cannot be the name of a class"),
        ("dog=Part1+../x,cat", "cannot be the name of a class"),
    ],
)
def test_classes_of_several_folders_that_make_no_sense_are_refused(parts: Path, classes: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        run(parts, classes=classes)


def test_signs_that_join_folders_may_be_in_the_name_of_one(tmp_path: Path) -> None:
    write(tmp_path / "data", "C++/0.wav", "a=b/0.wav", "x+y/0.wav", "n.wav", seconds=0.5)
    table = track(tmp_path / "n.txt", (0.1, 0.2, "call=loud"))
    (tmp_path / "data" / "n.txt").write_text(table.read_text())
    names = ("C++", "a=b", "call=loud", "both")
    result, _ = run(tmp_path / "data", classes=[*names[:3], "both=x+y"], labels=[tmp_path / "data" / "n.txt"])
    assert result.cache.n_per_class == dict.fromkeys(names, 1)
    assert result.cache.header.members["both"] == ("x+y",)


def test_classes_of_several_folders_keep_to_a_split_that_is_given(tmp_path: Path) -> None:
    from train.dataset.given import choose_split
    from train.dataset.splits import clip_groups

    folders = [f"{subset}/{name}" for subset in ("train", "val", "test") for name in ("A", "B", "cat")]
    write(tmp_path / "data", *(f"{folder}/{i}.wav" for folder in folders for i in (0, 1)))
    cache = run(tmp_path / "data", classes="dog=A+B,cat")[0].cache
    assert cache.n_per_class == {"dog": 12, "cat": 6}
    subset, _ = choose_split(cache, clip_groups(cache.paths, cache.columns["sha256"]), 0.2, 0.2, 0)
    assert [("train", "val", "test")[i] for i in subset] == [path.partition("/")[0] for path in cache.paths]


def test_a_run_opens_the_old_and_the_new_cache_once_reads_each_table_once_and_lists_each_folder_once(
    field: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(field, "frog/0.wav", "deep/below/1.wav", "deep/2.wav")
    track(field.parent / "tables/n0.txt", (1, 2, "frog"))
    track(field.parent / "tables/n1.txt", (1, 2, "owl"))
    run(field, labels=field.parent / "tables")
    track(field.parent / "tables/n1.txt", (1, 2, "owl"), (3, 4, "owl"))
    opened: list[str] = []
    listed: list[str] = []
    caches: list[str] = []
    really_open, really_list, really_map = os.open, os.scandir, h5py.File

    def counting_open(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(Path(path).name)
        return really_open(path, *arguments, **options)

    def counting_list(path: Any) -> Any:
        listed.append(os.path.relpath(path, field))
        return really_list(path)

    def counting_map(file: Any, mode: str, *arguments: Any, **options: Any) -> Any:
        caches.extend(["f.h5"] * (mode == "r"))
        return really_map(file, mode, *arguments, **options)

    monkeypatch.setattr(h5py, "File", counting_map)
    monkeypatch.setattr(os, "open", counting_open)
    monkeypatch.setattr(os, "scandir", counting_list)
    result, _ = run(field)
    monkeypatch.undo()
    assert result.n_computed == 1
    assert [opened.count(name) for name in ("n0.txt", "n1.txt")] == [1, 1]
    assert len(caches) == 2
    assert [listed.count(folder) for folder in ("frog", "deep", "deep/below")] == [1, 1, 1]
