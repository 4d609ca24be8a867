"""Windows of a clip: where they lie, and which of them are the loudest."""

from collections import Counter

import numpy as np
import pytest

from cache.shared.segment import Grid, Segment, grid, in_turn, segment_of
from featurize.audio.pieces import cut_windows

RATES = (8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 250000, 384000, 999_999, 1_000_000)


@pytest.mark.parametrize("sr", RATES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_windows_are_of_one_length_a_step_apart_and_the_last_ends_where_the_clip_ends(sr, overlap):
    windows = grid(4.096, overlap, sr)
    assert windows.length == pytest.approx(4.096 * sr, abs=0.5)
    assert windows.step == pytest.approx(4.096 * (1 - overlap) * sr, abs=0.5)
    for n in [k * windows.step + windows.length + more for k in range(4) for more in (-1, 0, 1)] + [1, sr]:
        block = np.zeros(n, np.int8)
        spans = [(first, first + len(y)) for first, y, _ in cut_windows([block], windows, windows.length)]
        assert len(spans) == windows.n_windows(n)
        assert (spans[0][0], spans[-1][1]) == (0, n)
        if n > windows.length:
            assert {last - first for first, last in spans} == {windows.length}
            assert {*np.diff([first for first, _ in spans])[:-1]} <= {windows.step}
            assert 0 < spans[-1][0] - spans[-2][0] <= windows.step


@pytest.mark.parametrize("sr", RATES)
def test_the_path_of_a_window_names_its_samples(sr):
    for first in np.random.default_rng(sr).integers(0, 100 * 3600 * sr, 50).tolist():
        segment = segment_of(Segment("a.wav", first / sr, (first + 3 * sr) / sr).path)
        assert segment is not None
        assert segment.samples(sr) == (first, first + 3 * sr)


def test_the_loudest_windows_come_in_order_and_overlap_by_half_at_most():
    windows = Grid(100, 25)
    starts = [0, 25, 50, 75, 100, 120]
    assert windows.loudest(1, starts, [1, 2, 9, 8, 3, 4]) == [2]
    assert windows.loudest(2, starts, [1, 2, 9, 8, 3, 4]) == [2, 5]
    assert windows.loudest(9, starts, [1, 2, 9, 8, 3, 4]) == [0, 2, 5]
    assert windows.loudest(2, starts, [5, 5, 5, 5, 5, 5]) == [0, 2]


@pytest.mark.parametrize("length", range(1, 60))
def test_windows_that_overlap_by_half_may_all_be_among_the_loudest(length):
    for seconds in np.linspace(length - 0.5, length + 0.5, 13)[1:-1]:
        windows = grid(float(seconds), 0.5, 1)
        starts = [i * windows.step for i in range(6)]
        assert windows.loudest(99, starts, [1.0] * len(starts)) == [*range(len(starts))]


@pytest.mark.parametrize("seed", range(30))
def test_segments_are_taken_of_all_recordings_in_turn_up_to_the_limit_of_their_class(seed):
    rng = np.random.default_rng(seed)
    segments = [(int(label), "abc"[i]) for label, i in rng.integers(3, size=(rng.integers(25), 2))]
    most, before = int(rng.integers(1, 8)), rng.integers(4, size=3).tolist()
    taken = [(i, *segments[i]) for i in in_turn(segments, most, before)]
    assert taken == sorted(taken)
    for label in range(3):
        there = Counter(recording for of, recording in segments if of == label)
        n = Counter(recording for _, of, recording in taken if of == label)
        assert n.total() == min(there.total(), max(0, most - before[label]))
        assert all(n[one] >= min(there[one], n[other] - 1) for one in there for other in there)
        for recording in there:
            own = [i for i, segment in enumerate(segments) if segment == (label, recording)]
            assert [i for i, *of in taken if of == [label, recording]] == own[: n[recording]]
