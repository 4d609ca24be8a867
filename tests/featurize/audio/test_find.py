"""Which files are clips, and in which order."""

import os

import pytest
import soundfile

from cache.shared.errors import UserError
from cache.shared.tree import AUDIO_EXTENSIONS, CLASS_NAMES
from featurize import build
from tests.helpers.clips import find_clips


@pytest.fixture
def data(tmp_path):
    for name in CLASS_NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "only.wav").write_bytes(b"x")
    return tmp_path


def paths(found):
    return [clip.path for clip in found.clips]


def test_the_classes_are_the_notebooks_and_their_order_is_the_label(data):
    assert CLASS_NAMES == ("dog", "cat", "bird")
    assert [(clip.path, clip.label) for clip in find_clips(data).clips] == [
        ("dog/only.wav", 0),
        ("cat/only.wav", 1),
        ("bird/only.wav", 2),
    ]
    assert paths(find_clips(data, ("bird", "dog"))) == ["bird/only.wav", "dog/only.wav"]


def test_any_audio_extension_counts_whatever_its_case_and_files_come_by_name(data):
    for name in ("b.WAV", "a.Flac", "c.ogg", "B.mp3", "d.AIFF", "e.au"):
        (data / "dog" / name).write_bytes(b"x")
    names = ["B.mp3", "a.Flac", "b.WAV", "c.ogg", "d.AIFF", "e.au", "only.wav"]
    assert paths(find_clips(data))[:7] == [f"dog/{name}" for name in names]


def test_hidden_files_and_other_files_are_no_clips_and_go_unmentioned(data):
    for name in (".hidden.wav", "._resource.wav", "notes.txt", "wav", ".wav"):
        (data / "dog" / name).write_bytes(b"x")
    found = find_clips(data)
    assert len(found.clips) == 3
    assert not found.rejected
    assert not found.ignored


def test_folders_and_pipes_are_no_clips_but_are_named(data):
    (data / "cat" / "folder.wav").mkdir()
    os.mkfifo(data / "cat" / "pipe.wav")
    found = find_clips(data)
    assert len(found.clips) == 3
    assert found.ignored == [("cat/folder.wav", "a folder"), ("cat/pipe.wav", "a pipe")]


def test_a_link_to_a_clip_is_a_clip_and_a_link_to_nowhere_is_rejected_by_name(data):
    (data / "dog" / "link.wav").symlink_to(data / "cat" / "only.wav")
    (data / "dog" / "dangling.wav").symlink_to(data / "gone.wav")
    (data / "dog" / "loop.wav").symlink_to(data / "dog" / "loop.wav")
    found = find_clips(data)
    assert "dog/link.wav" in paths(found)
    assert [clip.path for clip in found.rejected] == ["dog/dangling.wav", "dog/loop.wav"]


def test_size_and_time_are_the_files(data):
    file = data / "dog" / "only.wav"
    os.utime(file, ns=(1, 123_456_789_123_456_789))
    clip = find_clips(data).clips[0]
    assert (clip.size, clip.mtime_ns) == (1, 123_456_789_123_456_789)


def test_the_first_of_each_class_are_the_first_by_name_as_in_the_notebook(data):
    for name in CLASS_NAMES:
        for i in range(5):
            (data / name / f"{i}.wav").write_bytes(b"x")
    assert paths(find_clips(data, max_per_class=2)) == [f"{name}/{i}.wav" for name in CLASS_NAMES for i in range(2)]
    expected = [file.name for file in sorted((data / "dog").glob("*.wav"))[:3]]
    assert [path.split("/")[1] for path in paths(find_clips(data, ("dog",), 3))] == expected


def test_a_missing_or_empty_class_folder_is_an_error_that_names_it(data):
    (data / "cat" / "only.wav").unlink()
    with pytest.raises(UserError, match=r"cat has no clip.*--classes"):
        build(data)
    (data / "cat").rmdir()
    with pytest.raises(UserError, match=r"there is no folder .*cat; .* has the folders .*bird.*--classes"):
        build(data, classes="dog,cat")
    with pytest.raises(UserError, match="nowhere is not a folder"):
        build(data / "nowhere")


def test_every_format_that_libsndfile_reads_without_help_has_its_extension():
    known_by_extension = {"wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "rf64", "voc", "avr", "paf", "pvf"}
    assert {f".{name}" for name in known_by_extension} <= AUDIO_EXTENSIONS
    formats = {name.lower() for name in soundfile.available_formats()}
    assert known_by_extension <= formats
    # These need the sample rate from the caller, or hold other things than audio as a rule.
    assert not {".raw", ".mat"} & AUDIO_EXTENSIONS


def test_a_link_that_may_have_led_to_a_folder_is_named_in_data_and_in_a_class(data):
    (data / "owl").symlink_to("/nowhere/owl")
    (data / "dog" / "more").symlink_to("/nowhere/more")
    (data / "dog" / "notes.txt").symlink_to("/nowhere/notes.txt")
    found = find_clips(data)
    assert found.ignored == [("dog/more", "a link that leads nowhere"), ("owl", "a link that leads nowhere")]
    assert found.others == {".txt": 1}
    with pytest.raises(UserError, match=rf"^{data}/owl is a link that leads nowhere; .* has the folders"):
        build(data, classes=["owl", "dog"])
