"""Damaged bytes of every container: a clip is refused in words or is a spectrogram, whatever is in the file.

`make fuzz` tries as many as FUZZ_EXAMPLES says, with other mutations every time.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurize import featurize_clip
from featurize.audio.audio import ClipError
from tests.helpers.amounts import FUZZ_EXAMPLES, amount
from tests.helpers.sounds import FFMPEG_FORMATS, FORMATS, encoded, ffmpeg_encoded, noise

# By default the same mutations every time, so that `make test` means the same every time.
BOUND = settings(
    max_examples=amount(15, FUZZ_EXAMPLES),
    derandomize=not FUZZ_EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
# The offsets of headers, and the numbers that break what is computed from them.
HEADER_BYTES = 120
EXTREMES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
EXTREMES += [0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


def ids(kind):
    return "-".join(map(str, kind))


@pytest.fixture(scope="module", params=[*FORMATS, *FFMPEG_FORMATS], ids=ids)
def original(request):
    """A tenth of a second in one of the formats."""
    if request.param in FORMATS:
        return encoded(*request.param, noise(1600, n_channels=2))
    container, codec, sr = request.param
    return ffmpeg_encoded(container, codec, noise(sr // 10, n_channels=1 if container == "amr" else 2), sr)


@st.composite
def mutations(draw):
    """A function that does one to four kinds of damage, at places given as a share of the length."""
    return draw(st.lists(st.one_of(bits(), cut(), block(), field()), min_size=1, max_size=4))


def place():
    """Half the places are in the header, where damage matters most."""
    in_header = st.integers(0, HEADER_BYTES).map(lambda at: lambda n: min(at, n))
    return in_header | st.floats(0, 1).map(lambda share: lambda n: int(share * n))


@st.composite
def bits(draw):
    at, mask = draw(place()), draw(st.binary(min_size=1, max_size=8))

    def flip(data):
        first = at(len(data))
        changed = bytes(a ^ b for a, b in zip(data[first:], mask, strict=False))
        return data[:first] + changed + data[first + len(changed) :]

    return flip


@st.composite
def cut(draw):
    at, n_bytes, to_end = draw(place()), draw(st.integers(1, 64)), draw(st.booleans())
    return lambda data: data[: at(len(data))] + (b"" if to_end else data[at(len(data)) + n_bytes :])


@st.composite
def block(draw):
    """Bytes of the file again, or any bytes, inserted somewhere."""
    at, source = draw(place()), draw(place())
    n_bytes, times = draw(st.integers(1, 256)), draw(st.integers(1, 4))
    fresh = draw(st.none() | st.binary(min_size=1, max_size=64))

    def insert(data):
        first, start = at(len(data)), source(len(data))
        inserted = (data[start : start + n_bytes] if fresh is None else fresh) * times
        return data[:first] + inserted + data[first:]

    return insert


@st.composite
def field(draw):
    """A number of 1 to 8 bytes overwritten by an extreme one, in either byte order."""
    at, value = draw(st.integers(0, HEADER_BYTES)), draw(st.sampled_from(EXTREMES))
    n_bytes, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["little", "big"]))
    number = (value & ((1 << 8 * n_bytes) - 1)).to_bytes(n_bytes, order)
    return lambda data: data[:at] + number + data[at + n_bytes :]


@BOUND
@given(mutations())
def test_damaged_bytes_are_refused_in_words_or_are_a_spectrogram(original, tmp_path_factory, damage):
    data = original
    for change in damage:
        data = change(data)
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    # A file system waits for the disk when a file is emptied and written again.
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    try:
        x = featurize_clip(path)
    except ClipError as error:
        reason = str(error)
    else:
        assert x.shape == (128, 128, 1)
        assert np.isfinite(x).all()
        assert x.min() >= 0
        assert x.max() <= 1
        return
    assert reason.isprintable()
    assert len(reason.split()) >= 3
    # That is how what nobody foresaw is caught, so that it costs one clip and not the run.
    assert "cannot be decoded (" not in reason
