"""Labels of recordings: segments become clips, to the bit as files of the same samples."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cache import Cache, open_cache
from cache.look.changes import changes
from cache.look.info import as_json as info_as_json
from cache.shared.errors import UserError
from cache.shared.segment import recording_of
from featurize import build, featurize_clip
from featurize.update.summary import as_json
from featurize.update.update import Result
from tests.helpers.sounds import noise
from train.dataset.splits import clip_groups, split_clips

SECONDS = 20
SPANS = [(0.5, 1.25, "frog"), (1.0, 2.0, "owl"), (3.123457, 3.5, "frog"), (6.0, 15.0, "owl"), (7.0, 8.0, "frog")]


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Two recordings with a label track each."""
    for seed, (name, sr, n_channels) in enumerate([("night.wav", 44100, 2), ("sub/day.flac", 22050, 1)]):
        (tmp_path / "field" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "field" / name, noise(SECONDS * sr, n_channels, seed), sr)
        track(tmp_path / "field" / name, SPANS)
    return tmp_path / "field"


def track(recording: Path, spans: list[tuple[float, float, str]]) -> Path:
    file = recording.with_suffix(".txt")
    file.write_text("".join(f"{start}\t{end}\t{name}\n" for start, end, name in spans))
    return file


def made(field: Path, *labels: Path, **how: object) -> tuple[Cache, list[str], Result]:
    said: list[str] = []
    result = build(field, field.parent / "f.h5", labels=labels, notify=said.append, **how)  # type: ignore[arg-type]
    return result.cache, said, result


def classes_of(cache: Cache) -> dict[str, str]:
    return {path: cache.class_names[label] for path, label in zip(cache.paths, cache.labels, strict=True)}


def spans_of(cache: Cache, class_name: str) -> list[tuple[str, float, float]]:
    rows = np.flatnonzero(cache.labels == cache.class_names.index(class_name))
    starts, ends = cache.columns["start"], cache.columns["end"]
    return [(recording_of(cache.paths[i]), float(starts[i]), float(ends[i])) for i in rows]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_row_of_a_segment_is_to_the_bit_that_of_a_file_with_its_samples(
    field: Path, tmp_path: Path, n_jobs: int
) -> None:
    cache, _, _ = made(field, field, n_jobs=n_jobs)
    assert cache.class_names == ("frog", "owl")
    assert len(cache) == 2 * len(SPANS)
    for i, path in enumerate(cache.paths):
        samples, sr = soundfile.read(field / recording_of(path), dtype="int16")
        first, last = (round(float(cache.columns[name][i]) * sr) for name in ("start", "end"))
        file = tmp_path / ("clip" + Path(recording_of(path)).suffix)
        soundfile.write(file, samples[first:last], sr)
        expected = featurize_clip(file)
        assert cache.X[i].tobytes() == expected.tobytes()
        assert featurize_clip(field / path).tobytes() == expected.tobytes()
        assert cache.columns["duration"][i] == (last - first) / sr


@pytest.mark.parametrize("container", ["OGG", "MP3", "AIFF"])
def test_it_is_so_in_other_formats_and_when_a_segment_is_too_long_to_keep(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    recording = tmp_path / "data" / f"night.{container.lower()}"
    soundfile.write(recording, noise(SECONDS * 16000), 16000)
    track(recording, SPANS)
    kept, _, _ = made(tmp_path / "data", tmp_path / "data")
    (tmp_path / "f.h5").unlink()
    monkeypatch.setattr("featurize.audio.pieces.MOST_KEPT", 16000)
    again, _, _ = made(tmp_path / "data", tmp_path / "data")
    assert again.fingerprint == kept.fingerprint
    with soundfile.SoundFile(recording) as stream:
        # Upon a seek, which soundfile makes, an MP3's decoder gives other last bits.
        stream.seekable = lambda: False
        samples = stream.read(SECONDS * 16000, dtype="float32")
    for i, path in enumerate(kept.paths):
        first, last = (round(float(kept.columns[name][i]) * 16000) for name in ("start", "end"))
        soundfile.write(tmp_path / "clip.wav", samples[first:last], 16000, subtype="FLOAT")
        assert kept.X[i].tobytes() == featurize_clip(tmp_path / "clip.wav").tobytes(), path


def test_a_recording_is_decoded_once_whatever_its_labels(field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (field / "night.txt").unlink()
    track(field / "sub/day.flac", [(i / 10, i / 10 + 0.5, "ab"[i % 2]) for i in range(150)])
    n_read = 0

    class Counted(soundfile.SoundFile):  # type: ignore[misc]
        def read(self, *args: object, **options: object) -> object:
            nonlocal n_read
            block = super().read(*args, **options)
            n_read += len(block)
            return block

    monkeypatch.setattr("soundfile.SoundFile", Counted)
    cache, _, _ = made(field, field, n_jobs=1, classes=["a", "b"])
    assert len(cache) == 150
    assert 0 < n_read <= SECONDS * 22050


def test_what_was_asked_for_is_remembered_and_a_further_table_adds_to_it(field: Path, tmp_path: Path) -> None:
    night, day = field / "night.txt", field / "sub/day.txt"
    first, _, _ = made(field, night, background=2, widen=True, classes=["frog", "owl"])
    again, _, result = made(field)
    assert (again.fingerprint, result.n_computed) == (first.fingerprint, 0)
    assert (again.table_paths, again.header.background, again.header.widen) == ([night], 2, True)
    more, _, _ = made(field, day)
    assert more.table_paths == [night, day]
    assert {recording_of(path) for path in more.paths} == {"night.wav", "sub/day.flac"}
    only, _, _ = made(field, Path("none"), day, background=0, widen=False)
    assert {recording_of(path) for path in only.paths} == {"sub/day.flac"}
    assert only.class_names == ("frog", "owl")
    day.rename(tmp_path / "moved.txt")
    with pytest.raises(UserError, match=r"day.txt is not there, and the cache has labels of it"):
        made(field)


def test_a_changed_table_costs_what_changed_in_it(field: Path) -> None:
    before, _, _ = made(field, field)
    track(field / "night.wav", [*SPANS[:-1], (12.0, 13.0, "frog")])
    after, _, result = made(field)
    assert (result.n_computed, result.n_reused, result.n_removed) == (1, 9, 1)
    assert after.fingerprint != before.fingerprint
    relabelled = [(0.5, 1.25, "owl"), *SPANS[1:-1], (12.0, 13.0, "frog")]
    track(field / "night.wav", relabelled)
    corrected, _, result = made(field)
    assert result.n_computed == 0
    assert classes_of(corrected)["night.wav#0.500000-1.250000"] == "owl"
    assert corrected.fingerprint != after.fingerprint
    again, _, result = made(field)
    assert (again.fingerprint, result.n_computed) == (corrected.fingerprint, 0)


def test_folders_and_labels_make_one_cache_and_a_class_may_come_from_both(field: Path) -> None:
    for name in ("frog", "wren"):
        (field / name).mkdir()
        soundfile.write(field / name / "a#1.wav", noise(8000, seed=len(name)), 16000)
    # A labelled recording is not a clip as a whole, even in a class folder.
    (field / "night.wav").replace(field / "frog" / "night.wav")
    (field / "night.txt").replace(field / "frog" / "night.txt")
    cache, _, _ = made(field, field, classes="all")
    assert cache.class_names == ("frog", "wren", "owl")
    assert cache.n_per_class == {"frog": 7, "wren": 1, "owl": 4}
    assert cache.paths[:2] == ["frog/a#1.wav", "wren/a#1.wav"]
    assert "frog/night.wav" not in cache.paths
    with pytest.warns(UserWarning, match='6 labels skipped because "frog" is not one of the classes'):
        named = build(field, field.parent / "g.h5", ["wren", "Owl"], labels=[field])
    assert named.cache.n_per_class == {"wren": 1, "Owl": 4}


def test_a_folder_of_recordings_is_no_class_and_labels_that_are_none_are_counted(field: Path) -> None:
    soundfile.write(field / "sub/other.wav", noise(8000), 16000)
    cache, said, _ = made(field, field)
    assert cache.class_names == ("frog", "owl")
    assert (
        "1 audio file without labels is skipped: 1 in sub; to use a folder as a class, name it with --classes" in said
    )
    _, said, _ = made(field, classes="all")
    assert any(line.startswith("sub contains labelled recordings, so it is not used as a class") for line in said)
    made(field, classes="frog,owl")
    track(field / "night.wav", [*SPANS, (16, 17, "wren"), (17, 18, "Frog"), (18, 19, "a/b")])
    cache, said, _ = made(field)
    assert cache.n_per_class == {"frog": 7, "owl": 4}
    assert '1 label skipped because "wren" is not one of the classes; --classes all includes every label' in said
    assert f'{field}/night.txt:8: "a/b" cannot be the name of a class; skipped' in said
    track(field / "sub/day.flac", [*SPANS, (16, 17, "ant")])
    cache, _, result = made(field, classes=["all"])
    assert cache.class_names == ("frog", "owl", "ant", "wren")
    assert (result.n_computed, result.n_reused) == (2, 11)
    with pytest.warns(UserWarning, match='"a/b" cannot be the name of a class; skipped'):
        fresh = build(field, field.parent / "fresh.h5", cache.class_names, labels=[field]).cache
    assert fresh.fingerprint == cache.fingerprint
    cache, _, result = made(field, classes=["frog", "owl"])
    assert (result.n_computed, result.n_reused, result.n_removed) == (0, 11, 2)


def test_the_same_segment_of_two_classes_and_what_lies_past_the_end_is_named_with_its_line(field: Path) -> None:
    track(field / "night.wav", [*SPANS, (0.5, 1.25, "owl"), (30, 31, "owl"), (19.5, 21, "frog")])
    cache, said, result = made(field, field)
    reason = '"owl" labels the same segment as "frog" in night.txt:1, and a clip has one class; skipped'
    assert f"{field}/night.txt:6: {reason}" in said
    assert cache.rejections == [
        ("night.wav#30.000000-31.000000", "it starts at 30.00 s, and the recording is over at 20.00 s")
    ]
    row = cache.paths.index("night.wav#19.500000-21.000000")
    assert cache.columns["duration"][row] == 0.5
    assert b"it ends at 21.00 s, and the recording at 20.00 s" in cache.columns["remark"][row].split(b"; ")
    from featurize.update.summary import as_json, as_text

    assert "rejected night.wav#30.000000-31.000000: night.txt:7: it starts" in as_text(result)
    assert as_json(result)["rejected"][0]["where"] == "night.txt:7"


def test_short_labels_are_widened_to_the_median_around_their_middle(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    track(field / "night.wav", [(0.1, 0.2, "a"), (5.0, 5.2, "a"), (8, 9, "b"), (10, 11, "b"), (12, 15, "b")])
    cache, _, _ = made(field, field, widen=True)
    assert spans_of(cache, "a") == [("night.wav", 0.0, 1.0), ("night.wav", 4.6, 5.6)]
    assert spans_of(cache, "b") == [("night.wav", 8, 9), ("night.wav", 10, 11), ("night.wav", 12, 15)]


def test_background_is_where_nothing_is_labelled_of_median_length_and_the_same_at_every_run(field: Path) -> None:
    cache, _, _ = made(field, field, background=4)
    (field.parent / "f.h5").unlink()
    again, _, _ = made(field, field, background=4)
    found = spans_of(cache, "background")
    assert found == spans_of(again, "background")
    assert [recording for recording, _, _ in found] == ["night.wav"] * 4 + ["sub/day.flac"] * 4
    for recording, start, end in found:
        assert end - start == pytest.approx(1.0)
        assert end <= SECONDS
        others = [span for span in found if span != (recording, start, end) and span[0] == recording]
        assert not any(a < end and start < b for a, b, _ in SPANS)
        assert not any(a < end and start < b for _, a, b in others)
    # A label more costs the segments that it is in, and no other.
    _, hit, until = found[0]
    track(field / "night.wav", [*SPANS, (hit, until, "frog")])
    moved, _, result = made(field)
    kept = set(found) & set(spans_of(moved, "background"))
    assert len(kept) == 7
    # The label's own row was that of background before.
    assert result.n_computed == 1
    # A median that is a little longer does not either.
    track(field / "night.wav", [*SPANS, (hit, until, "frog"), (4.0, 5.05, "owl"), (5.0, 6.05, "owl")])
    track(field / "sub/day.flac", [*SPANS, (4.0, 5.05, "owl"), (5.0, 6.05, "owl")])
    longer, said, _ = made(field)
    assert longer.header.label_length == moved.header.label_length == 1.0
    assert not any("the median label" in line for line in said)
    track(field / "night.wav", [(1, 4, "frog")] * 2 + [(5 + i / 10, 8 + i / 10, "owl") for i in range(20)])
    longest, said, _ = made(field)
    assert longest.header.label_length == 3.0
    assert "the median label is now 3 s long (it was 1 s), so widened and background segments are recomputed" in said


def test_background_is_no_part_of_what_was_widened(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    points = [(i + 0.49, i + 0.51, "tick") for i in range(0, 18, 2)]
    track(
        field / "night.wav",
        [*points, *((18, 19, "long"),) * 1, *((18 + i / 100, 19 + i / 100, "long") for i in range(20))],
    )
    cache, said, _ = made(field, field, widen=True, background=30)
    found = spans_of(cache, "background")
    assert 5 <= len(found) <= 9
    assert f"night.wav: {len(found)} of the 30 background segments of 1 s fit between its labels" in said
    others = [*spans_of(cache, "tick"), *spans_of(cache, "long")]
    assert not any(a < end and start < b for _, start, end in found for _, a, b in others)


def test_where_there_is_little_room_for_background_it_is_found_or_said(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    track(field / "night.wav", [(0, 10, "a"), (10.0, 11.0, "b"), (12.05, 13.05, "b"), (13.05, 20, "a"), (13, 14, "b")])
    cache, said, _ = made(field, field, background=2)
    [(_, start, end)] = spans_of(cache, "background")
    assert 11.0 <= start < end <= 12.05
    assert said.count("night.wav: 1 of the 2 background segments of 1 s fits between its labels") == 1


def test_no_two_segments_of_a_recording_are_on_two_sides_of_a_split(field: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(field / f"r{number}.wav", noise(3 * 16000, seed=number), 16000)
        track(
            field / f"r{number}.wav",
            [(a, a + 0.2, "frog" if a < 1 else "owl") for a in rng.uniform(0, 2.5, 9).round(3)],
        )
    cache, _, _ = made(field, field)
    for pattern in (None, r"(wav|flac)$"):
        groups = clip_groups(cache.paths, cache.columns["sha256"], pattern)
        of_recording: dict[str, set[int]] = {}
        for path, group in zip(cache.paths, groups.tolist(), strict=True):
            of_recording.setdefault(recording_of(path), set()).add(group)
        assert all(len(found) == 1 for found in of_recording.values())
        assert len(set(groups.tolist())) == (14 if pattern is None else 2)
    side = split_clips(cache.labels, clip_groups(cache.paths, cache.columns["sha256"]), cache.class_names, 0.2, 0.2, 0)
    assert len({(recording_of(path), int(s)) for path, s in zip(cache.paths, side, strict=True)}) == 14
    assert set(side.tolist()) == {0, 1, 2}


def test_a_damaged_recording_costs_the_segments_behind_the_damage(field: Path) -> None:
    content = (field / "sub/day.flac").read_bytes()
    (field / "sub/day.flac").write_bytes(content[: len(content) * 3 // 5])
    cache, _, _ = made(field, field)
    rejected = [path for path, _ in cache.rejections]
    assert rejected == []
    assert {path for path in cache.paths if path.startswith("sub/")} >= {"sub/day.flac#0.500000-1.250000"}
    (field / "sub/day.flac").write_bytes(content[:400])
    cache, _, _ = made(field, field)
    assert len(cache.rejections) == len(SPANS)
    assert all(path.startswith("sub/day.flac#") for path, _ in cache.rejections)


def test_what_changed_since_is_told_without_reading_a_label(field: Path) -> None:
    cache, _, _ = made(field, field)
    assert changes(cache).state == "unchanged"
    os.utime(field / "night.wav", ns=(1, 1))
    assert changes(cache).n_changed == len(SPANS)
    (field / "sub/day.flac").unlink()
    assert changes(cache).n_gone == len(SPANS)
    os.utime(field / "night.txt", (2**32, 2**32))
    assert changes(cache).n_tables == 1


def test_options_of_labels_without_labels_and_recordings_elsewhere_are_refused(field: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a table with --labels"):
        build(field, background=3)
    (tmp_path / "else").mkdir()
    (field / "night.wav").replace(tmp_path / "else/night.wav")
    table = track(tmp_path / "else/night.wav", SPANS)
    _, said, _ = made(field, field / "sub", table)
    assert f"{table}:1 and 4 more lines: {tmp_path}/else/night.wav lies outside of {field}; skipped" in said
    (field / "lost.wav").symlink_to("nowhere.wav")
    _, said, _ = made(field, track(field / "lost.wav", SPANS))
    assert any(line.endswith("lost.wav is not a file; skipped") for line in said)


def test_a_cache_of_whole_clips_has_no_segment(tones_cache: Path) -> None:
    cache = open_cache(tones_cache)
    assert not cache.columns["start"].any()
    assert not cache.columns["end"].any()
    assert (cache.header.tables, cache.header.background) == ((), 0)


def test_a_report_plays_the_segment(field: Path, tmp_path: Path) -> None:
    import base64

    from train.report.page import players

    cache, _, _ = made(field, field)
    digests = [digest.decode() for digest in cache.columns["sha256"].tolist()]
    for path, player in zip(cache.paths, players(field, tmp_path, zip(cache.paths, digests, strict=True)), strict=True):
        assert not player.reason
        samples, sr = soundfile.read(field / recording_of(path), dtype="int16")
        start, end = (float(x) for x in path.rpartition("#")[2].split("-"))
        if player.source.startswith("data:audio/wav;base64,"):
            played, rate = soundfile.read(io.BytesIO(base64.b64decode(player.source.partition(",")[2])), dtype="int16")
            assert rate == sr
            expected = samples[round(start * sr) : round(end * sr)]
            assert played.shape == expected.shape
            assert np.abs(played.astype(int) - expected).max() <= 1
        else:
            assert end - start == 9.0
            assert player.source == f"field/{recording_of(path)}#t=6,15"
    wrong = players(field, tmp_path, [(cache.paths[0], "0" * 64)])[0]
    assert wrong.reason.endswith("its content has changed since")


def test_a_table_without_times_makes_a_clip_of_each_whole_file(field: Path, tmp_path: Path) -> None:
    table = tmp_path / "esc.csv"
    table.write_text("filename,fold,category\nnight.wav,1,owl\nday.flac,2,frog\n")
    cache, said, _ = made(field, table)
    assert cache.n_per_class == {"frog": 1, "owl": 1}
    for path, row in zip(cache.paths, cache.X, strict=True):
        assert row.tobytes() == featurize_clip(field / recording_of(path)).tobytes()
    assert cache.columns["duration"].tolist() == [SECONDS, SECONDS]
    assert not any("it ends at" in remark for _, remark in cache.remarks)
    assert f"{table}: its labels have no times, so each is that of a whole file" in said


def selections(file: Path, *channels: int) -> Path:
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tSpecies"
    rows = [f"{i}\tSpectrogram {channel}\t{channel}\t{i}\t{i + 1}\tfrog" for i, channel in enumerate(channels)]
    file.write_text("\n".join([header, *rows, ""]))
    return file


def test_the_channel_that_raven_names_is_the_clip(field: Path, tmp_path: Path) -> None:
    soundfile.write(field / "four.wav", noise(SECONDS * 16000, 4, seed=7), 16000)
    cache, _, _ = made(field, selections(field / "four.txt", 3, 1, 5, 4))
    assert cache.paths == [
        "four.wav#0.000000-1.000000@ch3",
        "four.wav#1.000000-2.000000@ch1",
        "four.wav#3.000000-4.000000@ch4",
    ]
    samples, sr = soundfile.read(field / "four.wav", dtype="int16")
    for i, (start, channel) in enumerate([(0, 3), (1, 1), (3, 4)]):
        soundfile.write(tmp_path / "clip.wav", samples[start * sr : (start + 1) * sr, channel - 1], sr)
        expected = featurize_clip(tmp_path / "clip.wav")
        assert cache.X[i].tobytes() == expected.tobytes()
        assert featurize_clip(field / cache.paths[i]).tobytes() == expected.tobytes()
    reason = "its table gives channel 5, and the recording has 4 channels"
    assert cache.rejections == [("four.wav#2.000000-3.000000@ch5", reason)]


def test_the_only_channel_of_a_recording_is_the_recording(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    cache, _, _ = made(field, selections(field / "sub/day.txt", 1))
    assert cache.paths == ["sub/day.flac#0.000000-1.000000"]


def test_points_get_the_length_that_is_asked_for_and_the_cache_remembers_it(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    track(field / "night.wav", [(1.0, 1.0, "frog"), (5.0, 5.0, "owl"), (9.0, 9.8, "owl")])
    cache, said, _ = made(field, field)
    assert cache.paths == ["night.wav#9.000000-9.800000"]
    needs = "it is a point label at 1 s, and a clip needs a length, which --point gives it"
    assert f"{field}/night.txt:1: {needs}; skipped" in said
    cache, said, _ = made(field, classes="all", point=0.5)
    assert (spans_of(cache, "frog"), cache.header.point) == ([("night.wav", 0.75, 1.25)], 0.5)
    again, _, result = made(field)
    assert (again.fingerprint, result.n_computed) == (cache.fingerprint, 0)
    cache, _, _ = made(field, classes=["owl"], point=0)
    assert cache.paths == ["night.wav#9.000000-9.800000"]
    for point in (-1, float("nan"), 1e9, "1"):
        with pytest.raises(UserError, match="give a number from 0 to 3600"):
            made(field, point=point)


def test_one_sound_in_two_classes_is_named_and_near_copies_count_once(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    spans = [(1.0, 1.8, "frog"), (1.0004, 1.8004, "frog"), (5.0, 5.8, "frog"), (5.01, 5.81, "owl"), (5.6, 6.5, "owl")]
    track(field / "night.wav", spans)
    cache, said, result = made(field, field)
    assert cache.n_per_class == {"frog": 2, "owl": 2}
    near = "it repeats the label of night.txt:1 to a millisecond"
    overlap = '"owl" overlaps "frog" in night.txt:3 by more than half, so one sound is in two classes'
    assert [line for line in said if "night.txt" in line] == [
        f"{field}/night.txt:2: {near}; skipped",
        f"{field}/night.txt:4: {overlap}",
    ]

    assert as_json(result)["label_problems"] == [
        {"table": f"{field}/night.txt", "line": 2, "reason": near, "skipped": True},
        {"table": f"{field}/night.txt", "line": 4, "reason": overlap, "skipped": False},
    ]


def test_hundreds_of_doubles_are_one_line_and_all_are_in_json(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    times = [(i / 200, i / 200 + 0.004) for i in range(300)]
    track(field / "night.wav", [(*time, name) for time in times for name in ("frog", "owl")] + [(16, 17, "owl")])
    _, said, result = made(field, field)
    assert sum("night.txt" in line for line in said) == 1
    assert len(result.problems) == 300


def test_a_label_belongs_to_the_class_whose_name_it_has_as_predict_writes_it(field: Path) -> None:
    (field / "sub/day.txt").unlink()
    for name in ("a\tb", "Owl"):
        (field / name).mkdir()
        soundfile.write(field / name / "clip.wav", noise(8000, seed=len(name)), 16000)
    track(field / "night.wav", [(1, 2, "a\\tb"), (3, 4, "owl")])
    cache, _, _ = made(field, field, classes=["a\tb", "Owl"])
    assert cache.n_per_class == {"a\tb": 2, "Owl": 2}


def test_an_empty_table_gives_background_from_its_recording(field: Path) -> None:
    (field / "sub/day.txt").write_text("")
    cache, _, _ = made(field, field, background=3)
    recordings = [recording for recording, _, _ in spans_of(cache, "background")]
    assert recordings == ["night.wav"] * 3 + ["sub/day.flac"] * 3


def test_a_column_is_forgotten_with_its_tables(field: Path, tmp_path: Path) -> None:
    for name, header in (("a.csv", "file,start,end,call"), ("b.csv", "file,start,end,label")):
        (tmp_path / name).write_text(f"{header}\nnight.wav,1,2,frog\nnight.wav,3,4,owl\n")
    made(field, tmp_path / "a.csv", label_column="call")
    cache, _, _ = made(field, tmp_path / "b.csv")
    assert cache.header.label_column == "call"
    cache, _, _ = made(field, Path("none"), tmp_path / "b.csv")
    assert cache.header.label_column == ""


def test_columns_are_remembered_with_their_tables(field: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("rec,t0,t1,call\nnight.wav,1,2,frog\nnight.wav,3,4,owl\n")
    named = {"file_column": "rec", "start_column": "t0", "end_column": "t1", "label_column": "call"}
    made(field, tmp_path / "a.csv", **named)
    with (tmp_path / "a.csv").open("a") as file:
        file.write("sub/day.flac,5,6,frog\n")
    cache, _, result = made(field)
    assert (result.n_computed, result.n_reused) == (1, 2)
    assert spans_of(cache, "frog") == [("night.wav", 1, 2), ("sub/day.flac", 5, 6)]
    assert {name: getattr(cache.header, name) for name in named} == named
    assert named.items() <= info_as_json(cache).items()
    cache, _, _ = made(field, Path("none"), field)
    assert {getattr(cache.header, name) for name in named} == {""}


def test_columns_without_labels_are_an_error(field: Path) -> None:
    with pytest.raises(UserError, match=r"--start-column.* are about labels; give a table with --labels"):
        made(field, start_column="t0")


def test_labels_of_which_none_can_be_used_are_an_error_with_each_reason(field: Path, tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    table.write_text("file,start,end,label\nC:\\field\\lost.wav,1,2,frog\nnight.wav,0:01,0:02,frog\n")
    with pytest.raises(UserError) as error:
        made(field, table)
    assert f"none of the labels can be used; {table}:2: there is no recording C:" in str(error.value)
    assert f"{table}:3: its start or end is not a number of seconds: night.wav,0:01,0:02,frog" in str(error.value)
    assert not (field.parent / "f.h5").exists()
