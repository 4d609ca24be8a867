"""The request of a run: remembered until it is given again, and found in DATA where nobody said."""

import json
import os
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.look.info import as_json, as_text
from cache.shared.errors import UserError
from featurize import build
from featurize.update import summary
from tests import ROOT
from tests.helpers.commands import featurize_here

ANIMALS = ("dog", "cat", "bird")


def write(data, *paths):
    for path in paths:
        file = data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        y = np.random.default_rng(sum(map(ord, str(path)))).normal(0, 0.1, 1600)
        with file.open("wb") as out:
            soundfile.write(out, y, 16000, format="WAV")


@pytest.fixture
def data(tmp_path):
    """Three clips of each animal."""
    write(tmp_path / "data", *(f"{name}/{i}.wav" for name in ANIMALS for i in range(3)))
    return tmp_path / "data"


def run(data, **asked):
    said = []
    result = build(data, notify=said.append, **asked)
    return result, said


def command(*arguments, **options):
    words = [sys.executable, "-m", *map(os.fspath, map(str, arguments))]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, **options)


def test_what_a_cache_was_asked_for_stays_until_it_is_given_again(data):
    first, _ = run(data, classes=("cat", "dog"), dtype="float16", max_per_class=2)
    again, said = run(data)
    assert (again.n_computed, said) == (0, [])
    assert again.cache.class_names == ("cat", "dog")
    assert again.cache.X.dtype == np.float16
    assert again.cache.fingerprint == first.cache.fingerprint
    all_clips, said = run(data, max_per_class=0)
    assert (all_clips.n_computed, all_clips.n_reused) == (2, 4)
    assert all_clips.cache.X.dtype == np.float16
    assert "2 clips to compute" in said[-1]
    wider, said = run(data, dtype="float32")
    assert said[0] == "all clips are computed again: the dtype is float32, the cache's was float16"
    assert wider.n_computed == 6
    assert (run(data)[0].n_computed, run(data, classes=("dog", "cat"))[0].n_computed) == (0, 0)


def test_info_shows_what_was_asked_for_and_misses_no_clip_beyond_the_limit(data):
    cache = run(data, max_per_class=2)[0].cache
    assert "asked for    dog, cat, bird; float32; the first 2 of each class" in as_text(cache)
    assert "unchanged since" in as_text(cache)
    assert as_json(cache)["max_per_class"] == 2
    assert "asked for    dog, cat, bird; float32; all clips" in as_text(run(data, max_per_class=0)[0].cache)


def test_the_three_animals_come_in_the_order_of_the_contract_and_other_folders_are_named(data):
    write(data, *(f"horse/{i}.wav" for i in range(2)), "ant/deep/below/0.wav")
    (data / "empty").mkdir()
    result, said = run(data)
    assert result.cache.class_names == ANIMALS
    assert said[0] == "ant: 1 clip not used; horse: 2 clips not used; --classes all takes every folder"
    everything, _ = run(data, classes=("all",))
    assert everything.cache.class_names == ("ant", "bird", "cat", "dog", "horse")
    assert "ant/deep/below/0.wav" in everything.cache.paths


@pytest.mark.parametrize("name", ["background", "Noise", "other", "silence"])
def test_a_background_folder_joins_the_animals_as_the_last(data, name):
    write(data, f"{name}/0.wav")
    result, said = run(data)
    assert result.cache.class_names == (*ANIMALS, name)
    assert not any("not used" in line for line in said)


def test_other_folders_are_all_taken_in_the_order_of_the_alphabet(tmp_path):
    write(tmp_path, "wren/0.wav", "robin/2024/may/0.wav", "dog/0.wav")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no sound")
    assert run(tmp_path)[0].cache.class_names == ("dog", "robin", "wren")


def test_a_folder_without_any_audio_says_what_is_there(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(UserError, match=r"has no folder with audio in it; .* \(there are: notes\)"):
        run(tmp_path)


def test_a_class_that_is_not_there_names_the_folders_that_are_the_nearest_first(data):
    with pytest.raises(UserError, match=r"there is no folder .*dgo; .* has the folders dog, ") as error:
        run(data, classes=("dgo", "cat"))
    assert "bird" in str(error.value)


def test_a_name_in_another_case_or_unicode_form_is_found_and_said(data):
    on_disk = unicodedata.normalize("NFD", "Zaunkönig")
    write(data, f"{on_disk}/0.wav")
    result, said = run(data, classes=("Dog", unicodedata.normalize("NFC", "Zaunkönig")))
    assert result.cache.class_names == ("dog", on_disk)
    assert said[0] == "Dog: taken for the folder dog, which is written in another way"
    assert said[1].startswith("Zaunkönig: taken for the folder")
    with pytest.raises(UserError, match="named twice"):
        run(data, classes=("dog", "DOG"))


def test_classes_given_one_by_one_may_hold_commas_and_spaces(data):
    write(data, "owl, barn/0.wav", "tawny owl/0.wav")
    names = ["--classes", "owl, barn", "--classes", "tawny owl"]
    done = command("featurize", data, "--cache", data / "f.h5", *names)
    assert done.returncode == 0, done.stderr
    assert open_cache(data / "f.h5").class_names == ("owl, barn", "tawny owl")


@pytest.mark.parametrize("option", [("--dtype", "float16"), ("--max-per-class", "2"), ("--jobs", "1")])
def test_an_option_that_is_given_twice_is_refused(data, option):
    done = featurize_here(data, *option, *option)
    assert done.returncode == 2
    assert "given twice" in done.stderr


def test_the_sides_of_a_split_are_no_classes_but_hold_them(tmp_path):
    write(tmp_path, *(f"{side}/{name}/{i}.wav" for side in ("train", "valid", "test") for name in "ab" for i in (0, 1)))
    cache = run(tmp_path)[0].cache
    assert cache.class_names == ("a", "b")
    assert len(cache) == 12
    assert cache.paths[0].split("/")[1] == "a"


def test_what_is_no_clip_is_counted_by_kind(data):
    for name in ("a.txt", "b.txt", "c.JSON", ".hidden.txt"):
        (data / "dog" / name).write_text("no sound")
    result, _ = run(data)
    assert "skipped because they are not audio files: 2 .txt, 1 .json" in summary.as_text(result)
    assert summary.as_json(result)["others"] == {".txt": 2, ".json": 1}
    assert "skipped      2 .txt, 1 .json: not audio files, by their names" in as_text(result.cache)


def test_an_empty_class_says_what_is_there_instead(data):
    write(data, "horse/0.wav")
    (data / "horse" / "0.wav").rename(data / "horse" / "0.txt")
    with pytest.raises(UserError, match=r"horse has no clip in it, but 1 \.txt"):
        run(data, classes=("dog", "horse"))


def test_clips_longer_than_a_row_are_counted_in_info(data):
    rng = np.random.default_rng(0)
    soundfile.write(data / "dog" / "long.wav", rng.normal(0, 0.1, 16000 * 6), 16000)
    cache = run(data)[0].cache
    assert "1 of 10 clips is longer than the 4.1 s that a row shows, the longest 6.0 s" in as_text(cache)
    assert as_json(cache)["n_longer"] == 1


def test_a_clip_that_is_cut_short_is_counted_and_named_everywhere(data):
    content = (data / "dog" / "0.wav").read_bytes()
    soundfile.write(data / "dog" / "cut.wav", np.random.default_rng(1).normal(0, 0.1, 32000), 16000)
    content = (data / "dog" / "cut.wav").read_bytes()
    (data / "dog" / "cut.wav").write_bytes(content[: len(content) * 7 // 10])
    result, _ = run(data)
    text, found = summary.as_text(result), summary.as_json(result)
    assert "rejected 0, cut short 1" in text
    assert "used dog/cut.wav: cut short: 1.40 s of the 2.00 s that its header states" in text
    assert found["n_cut_short"] == 1
    assert [clip["path"] for clip in found["remarks"]] == ["dog/cut.wav"]
    assert "1 clip, 1 of them cut short" in as_text(result.cache)


def test_folders_that_swap_their_clips_are_noticed_though_sizes_and_times_are_equal(data):
    for name in ("dog", "cat"):
        for i in range(3):
            os.utime(data / name / f"{i}.wav", ns=(10**18, 10**18))
    before = run(data)[0].cache
    old = dict(zip(before.paths, before.X[:], strict=True))
    (data / "dog").rename(data / "tmp")
    (data / "cat").rename(data / "dog")
    (data / "tmp").rename(data / "cat")
    result, said = run(data)
    assert result.n_computed == 6
    assert "6 clips of known size and time to compare by content" in said[0]
    new = dict(zip(result.cache.paths, result.cache.X[:], strict=True))
    for i in range(3):
        np.testing.assert_array_equal(new[f"dog/{i}.wav"], old[f"cat/{i}.wav"])


def test_a_copy_of_data_costs_a_look_at_each_content_and_no_row(data):
    run(data)
    for file in sorted(data.rglob("*.wav")):
        status = file.stat()
        content = file.read_bytes()
        (data / "beside").write_bytes(content)
        os.replace(data / "beside", file)  # noqa: PTH105
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    result, said = run(data)
    assert result.n_computed == 0
    assert "9 clips of known size and time to compare by content: the inode is another" in said[0]
    assert run(data)[1] == []


def test_a_cache_from_the_future_says_so(data):
    cache = run(data)[0].cache
    os.utime(cache.file, (4e9, 4e9))
    assert "ahead of this machine's clock" in as_text(cache).splitlines()[0]


def test_a_folder_whose_name_is_no_utf8_is_worked_in(tmp_path):
    data = tmp_path / os.fsdecode(b"sounds \xff")
    write(data, "a/0.wav", "b/0.wav")
    done = subprocess.run(
        [sys.executable, "-m", "featurize", os.fsencode(data)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "cache", "info", os.fsencode(data / "features.h5")],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert b"Traceback" not in shown.stderr + done.stderr


def test_a_cache_that_is_a_link_to_another_disk_knows_its_clips(data, tmp_path):
    (tmp_path / "disk").mkdir()
    run(data, cache_file=tmp_path / "disk" / "f.h5")
    (data / "features.h5").symlink_to(tmp_path / "disk" / "f.h5")
    assert "unchanged since" in as_text(open_cache(data / "features.h5"))
    assert run(data)[0].n_computed == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
@pytest.mark.parametrize("words", ["featurize {data} --cache {file}", "cache info {file}", "cache verify {file}"])
def test_closed_streams_change_neither_the_work_nor_the_exit_code(data, closed, words):
    file = data / "f.h5"
    run(data, cache_file=file)
    line = f"exec {sys.executable} -m {words.format(data=data, file=file)} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(open_cache(file)) == 9


def test_make_features_and_train_ask_for_the_same(data):
    done = subprocess.run(
        ["make", "-n", "train", f"DATA={data}", "CLASSES=robin,wren"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if "-m featurize" in line)
    assert line.endswith(f'-m featurize "{data}" --cache "{data}/features.h5" --classes "robin,wren"')


def test_json_says_it_all_in_one_object(data):
    done = command("featurize", data, "--json")
    assert done.stdout.count("\n") == 1
    assert {"others", "remarks", "n_cut_short", "rejected", "ignored"} <= json.loads(done.stdout).keys()


def test_info_counts_clips_whose_sound_is_mostly_too_high_and_no_run_dwells_on_them(data):
    t = np.arange(44100) / 44100
    for name, hz in (("bat", 12000), ("owl", 400)):
        soundfile.write(data / "dog" / f"{name}.wav", 0.5 * np.sin(2 * np.pi * hz * t), 44100)
    long = np.sin(2 * np.pi * 15000 * np.arange(48000 * 8) / 48000)
    soundfile.write(data / "cat" / "long.flac", 0.5 * long, 48000)
    result, _ = run(data)
    said = dict(result.cache.remarks)
    assert list(said) == ["dog/bat.wav", "cat/long.flac"]
    for remark in said.values():
        assert re.fullmatch(r"(9\d|100)% of its energy is above 8 kHz, which the features leave out", remark)
    assert "remarks      2 clips, 0 of them cut short, 2 mostly above 8 kHz" in as_text(result.cache)
    assert "above 8 kHz" not in summary.as_text(result)
