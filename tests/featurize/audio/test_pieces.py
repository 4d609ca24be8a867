"""Samples from a to b of a recording: the same whatever the blocks, the memory and the other spans."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.shared.segment import Segment
from featurize.audio.audio import Audio, Blocks, ClipError, Decoded, Reading
from featurize.audio.decode import open_audio
from featurize.audio.pieces import cut, passes

N_SAMPLES = 1000
SR = 1000
STORED = np.arange(2 * N_SAMPLES, dtype=np.float32).reshape(N_SAMPLES, 2)
SPANS = st.lists(st.tuples(st.integers(0, 1100), st.integers(1, 400)).map(lambda span: (span[0], sum(span))))


def recording(block: int = 7) -> Audio:
    def blocks() -> Blocks:
        room = np.empty((block, 2), np.float32)
        for start in range(0, N_SAMPLES, block):
            part = STORED[start : start + block]
            room[: len(part)] = part
            yield room[: len(part)]
        return Decoded(N_SAMPLES, "a remark")

    return Audio(SR, 2, N_SAMPLES, "WAV/PCM_16", blocks, lambda: "digest", scale=0.5)


@settings(deadline=None)
@given(spans=SPANS, block=st.integers(1, 1100))
def test_pieces_are_the_samples_of_their_spans_in_any_order_and_overlap(
    spans: list[tuple[int, int]], block: int
) -> None:
    reading = Reading(recording(block).pieces(spans))
    parts = list(reading)
    for i, (first, last) in enumerate(spans):
        got = [part for which, part in parts if which == i]
        expected = 0.5 * STORED[first:last]
        np.testing.assert_array_equal(np.concatenate([expected[:0], *got]), expected)
    if any(last > N_SAMPLES for _, last in spans):
        assert reading.result == Decoded(N_SAMPLES, "a remark")


@pytest.mark.parametrize("name", ["r.wav", "r.flac", "r.ogg", "r.mp3"])
def test_a_span_read_from_the_middle_of_a_recording_is_the_one_of_a_reading_from_its_start(
    name: str, tmp_path: Path
) -> None:
    sr = 48000  # of 50 s, more than is read in one go
    y = np.random.default_rng(0).normal(0, 0.1, (100, sr // 2))
    with soundfile.SoundFile(tmp_path / name, "w", sr, 1) as out:
        for part in y:
            out.write(part)
    with open_audio(str(tmp_path / name)) as audio:
        assert audio.blocks_from is not None
        whole = np.concatenate([block.copy() for block in audio.blocks()])
        for first in (0, 7 * sr + 1, 49 * sr):
            np.testing.assert_allclose(
                np.concatenate([*audio.span(first, first + 70_000)]), whole[first : first + 70_000], atol=1e-6
            )
        assert sum(map(len, audio.span(51 * sr, 52 * sr))) == 0


@settings(deadline=None)
@given(spans=SPANS, most=st.integers(1, 500))
def test_every_span_is_in_one_pass_and_no_pass_holds_more_than_it_may(spans: list[tuple[int, int]], most: int) -> None:
    shared = list(passes(spans, most))
    assert sorted(which for chosen in shared for which in chosen) == list(range(len(spans)))
    for chosen in shared:
        held = np.zeros(1600, int)
        for which in chosen:
            held[slice(*spans[which])] += 1
        assert held.max() <= most or len(chosen) == 1


@pytest.mark.parametrize("most_kept", [1 << 24, 300, 10])
def test_a_segment_is_the_clip_of_its_samples_whether_it_is_kept_or_streamed(
    most_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurize.audio.pieces.MOST_KEPT", most_kept)
    spans = [(0.1, 0.3), (0.0, 1.0), (0.15, 0.25), (0.9, 0.99)]
    pieces = dict(cut(recording(), [Segment("r.wav", *span) for span in spans]))
    assert sorted(pieces) == [0, 1, 2, 3]
    for which, piece in pieces.items():
        blocks = Reading(piece.blocks())
        y = np.concatenate([block * np.float32(piece.scale) for block in blocks])
        first, last = (round(second * SR) for second in spans[which])
        np.testing.assert_array_equal(y, 0.5 * STORED[first:last])
        assert blocks.result == Decoded(last - first)


@pytest.mark.parametrize("most_kept", [1 << 24, 10])
@pytest.mark.parametrize(
    ("span", "words"),
    [
        ((0.8, 1.2), "it ends at 1.20 s, and the recording at 1.00 s"),
        ((1.5, 1.7), "it starts at 1.50 s, and the recording is over at 1.00 s"),
        ((0.5, 0.50001), "it is shorter than a sample of the recording"),
    ],
)
def test_a_segment_that_is_not_all_there_says_so(
    most_kept: int, span: tuple[float, float], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurize.audio.pieces.MOST_KEPT", most_kept)
    ((_, piece),) = cut(recording(), [Segment("r.wav", *span)])
    blocks = Reading(piece.blocks())
    try:
        list(blocks)
        said = blocks.result.remark
    except ClipError as error:
        said = str(error)
    assert said == words
