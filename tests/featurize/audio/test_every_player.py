"""Sound that every player plays, however odd its file: each kind is a row, or is refused with the words that fit."""

import io
import re
import struct
import subprocess
import sys
from contextlib import suppress

import av
import numpy as np
import pytest
import soundfile

from featurize import build, featurize_clip
from featurize.audio.audio import ClipError, Reading, check_length
from featurize.audio.decode import open_audio
from featurize.audio.header import first_frame
from tests import ROOT
from tests.helpers.oracle import by_ffmpeg, notebook
from tests.helpers.sounds import FFMPEG_FORMATS, encoded, ffmpeg_encoded, noise, wav

SR = 44100
SOUND = noise(3 * SR)
MP3 = encoded("MP3", "MPEG_LAYER_III", SOUND, SR)
FLAC = encoded("FLAC", "PCM_16", SOUND, SR)
EMPTY_TAG = b"ID3\x03\0\0\0\0\0\0"


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def read(path):
    """The samples of a clip, the open clip, and its end."""
    with open_audio(str(path)) as audio:
        blocks = Reading(audio.blocks())
        y = np.concatenate([block * np.float32(audio.scale) for block in blocks])
        return y, audio, blocks.result


@pytest.mark.slow
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize(("container", "codec", "sr"), FFMPEG_FORMATS)
def test_what_libsndfile_does_not_read_is_the_row_of_ffmpegs_own_decode(tmp_path, container, codec, sr, n_channels):
    if codec.startswith("libopencore") and n_channels == 2:
        pytest.skip("there is no such file")
    path = put(tmp_path, "clip", ffmpeg_encoded(container, codec, noise(2 * sr, n_channels), sr))
    x = featurize_clip(path)
    np.testing.assert_allclose(x, by_ffmpeg(path), atol=1e-4)
    assert x.max() > 0.99
    y, audio, end = read(path)
    assert end.n_samples == len(y)
    assert len(y) / audio.sr == pytest.approx(2, abs=0.1)
    assert end.remark == ""


@pytest.mark.parametrize(("container", "name"), [("ipod", "M4A"), ("mp4", "MP4"), ("mov", "MOV"), ("3gp", "3GP")])
def test_the_format_says_what_was_decoded_whatever_the_file_is_called(tmp_path, container, name):
    _, audio, _ = read(put(tmp_path, "clip.wav", ffmpeg_encoded(container, "aac", SOUND, SR)))
    assert audio.format == f"{name}/AAC"
    _, audio, _ = read(put(tmp_path, "clip.mp3", ffmpeg_encoded("webm", "libopus", noise(48000), 48000)))
    assert audio.format == "WEBM/OPUS"


def test_the_padding_of_an_encoder_is_left_out_where_the_container_states_it(tmp_path):
    y = noise(SR + 123)
    pcm, _, _ = read(put(tmp_path, "clip.m4a", ffmpeg_encoded("ipod", "alac", y, SR)))
    assert len(pcm) == len(y)
    np.testing.assert_allclose(pcm, y, atol=1e-4)


def test_the_sound_of_a_film_is_read_and_its_pictures_are_not_decoded(tmp_path, monkeypatch):
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as out:
        film = out.add_stream("mpeg4", rate=25)
        film.width = film.height = 64
        sound = out.add_stream("aac", rate=SR, layout="mono")
        for i in range(25):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i, np.uint8), format="rgb24")
            out.mux(film.encode(picture))
        frame = av.AudioFrame.from_ndarray(SOUND[:SR].T.astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = SR
        out.mux(sound.encode(frame))
        out.mux(film.encode(None))
        out.mux(sound.encode(None))
    path = put(tmp_path, "film.mp4", stream.getvalue())
    monkeypatch.setattr(av.VideoFrame, "__new__", lambda *_: pytest.fail("a picture was decoded"), raising=False)
    y, audio, _ = read(path)
    assert audio.format == "MP4/AAC"
    assert len(y) / SR == pytest.approx(1, abs=0.05)


ONLY_WHEN_NEEDED = """
import sys
from pathlib import Path
from featurize import featurize_clip
for name in sys.argv[1:]:
    featurize_clip(Path(name))
    print("av" in sys.modules)
"""


def test_a_stream_that_begins_on_the_way_costs_the_sound_nothing(tmp_path):
    data = ffmpeg_encoded("flv", "aac", noise(30 * SR), SR)
    whole, _, _ = read(put(tmp_path, "whole.flv", data))
    picture = bytes([0x12]) + bytes(40)
    tag = b"\x09" + len(picture).to_bytes(3, "big") + (29_000).to_bytes(3, "big") + bytes(4) + picture
    y, _, end = read(put(tmp_path, "film.flv", data + tag + len(tag).to_bytes(4, "big")))
    np.testing.assert_array_equal(y, whole)
    assert end.remark == ""


def test_pyav_is_imported_only_when_a_file_needs_it(tmp_path):
    files = [
        put(tmp_path, "a.wav", wav(np.arange(4000, dtype=np.int16))),
        put(tmp_path, "b.flac", FLAC),
        put(tmp_path, "c.mp3", bytes(500) + MP3),
        put(tmp_path, "d.m4a", ffmpeg_encoded("ipod", "aac", SOUND, SR)),
    ]
    command = [sys.executable, "-c", ONLY_WHEN_NEEDED, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "True"]


@pytest.mark.parametrize(
    "name",
    ["list.m3u8", "list.m4a", "parts.ffconcat", "parts.wav", "list.mpd", "session.sdp", "picture.mp4", "subtitle.idx"],
)
def test_a_file_that_names_others_gets_nowhere(tmp_path, name):
    secret = put(tmp_path, "secret.wav", wav(np.arange(4000, dtype=np.int16)))
    lists = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "m4a": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {secret}\n",
        "wav": "ffconcat version 1.0\nfile secret.wav\n",
        "mpd": f'<?xml version="1.0"?><MPD><Period><BaseURL>{secret}</BaseURL></Period></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "mp4": f"http://127.0.0.1:9/{secret}",
        "idx": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 0\n",
    }
    path = put(tmp_path, name, lists[name.rpartition(".")[2]].encode())
    with pytest.raises(ClipError, match="not audio in any format"):
        featurize_clip(path)
    if "parts" in name:
        # FFmpeg itself, left alone, follows such a list.
        with av.open(str(path), options={"safe": "0"}) as container:
            assert container.streams.audio


def test_an_mp4_whose_samples_lie_in_another_file_gets_nowhere(tmp_path):
    secret = put(tmp_path, "secret.raw", bytes(range(256)) * 400)
    data = ffmpeg_encoded("mov", "pcm_s16le", SOUND[:9000], SR)
    # The reference says "in this file" by a flag; without it there follows where else they are.
    at = data.index(b"url ", data.index(b"dref")) - 4
    elsewhere = b"url " + bytes(4) + f"file://{secret}".encode() + b"\0"
    changed = data[:at] + struct.pack(">I", 4 + len(elsewhere)) + elsewhere + data[at + 12 :]
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        size = changed.index(name) - 4
        (n_bytes,) = struct.unpack_from(">I", changed, size)
        changed = changed[:size] + struct.pack(">I", n_bytes + len(elsewhere) - 8) + changed[size + 4 :]
    path = put(tmp_path, "clip.mov", changed)
    with suppress(ClipError):
        y, _, _ = read(path)
        stolen = np.frombuffer(secret.read_bytes(), "<i2") / 32768
        assert not np.allclose(y[:1000, 0], stolen[:1000])


@pytest.mark.parametrize(
    "junk",
    {
        "zeros": bytes(417),
        "many zeros": bytes(60_000),
        "a tag": EMPTY_TAG,
        "a tag and padding": EMPTY_TAG + bytes(10),
        "two tags": EMPTY_TAG + EMPTY_TAG,
        "a tag of a wrong size": b"ID3\x03\0\0\0\0\x7f\x7f" + bytes(30),
        "a line break": b"\r\n",
        "the middle of a frame": MP3[3000:3300],
        "text": b"Content-Type: audio/mpeg\r\n\r\n",
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("name", ["clip.mp3", "clip.MP3"])
def test_an_mp3_with_something_before_its_first_frame_is_the_notebooks_row_or_ffmpegs(tmp_path, junk, name):
    path = put(tmp_path, name, junk[1] + MP3)
    x = featurize_clip(path)
    try:
        expected = notebook(path)
    except Exception:
        expected = by_ffmpeg(path)
    np.testing.assert_allclose(x, expected, atol=1e-4)
    assert x.max() > 0.99


@pytest.mark.parametrize("name", ["diary.au", "diary.snd", "diary.mp3", "diary.aac", "diary.amr", "diary.ts"])
def test_text_is_no_sound_whatever_it_is_called(tmp_path, name):
    with pytest.raises(ClipError, match="not audio in any format"):
        featurize_clip(put(tmp_path, name, b"Dear diary, today the dog barked.\n" * 500))


def test_random_bytes_have_no_first_frame(tmp_path):
    path = put(tmp_path, "noise", np.random.default_rng(0).bytes(1 << 18))
    with path.open("rb") as file:
        assert first_frame(file.fileno(), 1 << 18) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.49, 0.51, 0.9])
def test_at_least_half_of_what_is_stated_is_a_row_and_less_is_refused_both_with_both_lengths(share):
    n = 10 * SR
    words = rf"cut short.*{share * 10:.2f} s of the 10.00 s"
    if share < 0.5:
        with pytest.raises(ClipError, match=words):
            check_length(round(share * n), n, SR)
    else:
        assert check_length(round(share * n), n, SR).startswith("cut short: ")


@pytest.mark.parametrize("n_missing", [1, 1000, 2000])
def test_a_length_is_a_promise_to_within_a_tenth_of_a_second(n_missing):
    assert check_length(SR - n_missing, SR, SR) == ""


STATING = [
    *(("WAV", kind) for kind in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM")),
    *((kind, "PCM_16") for kind in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "SVX")),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("container", "subtype"), STATING)
def test_one_rule_for_what_is_cut_short_whatever_the_format(tmp_path, container, subtype):
    data = encoded(container, subtype, SOUND, SR)
    _, _, whole = read(put(tmp_path, "whole.mp3", data))
    assert whole.remark == ""
    _, _, most = read(put(tmp_path, "most.mp3", data[: len(data) * 3 // 4]))
    assert re.fullmatch(r"cut short: 2\.\d\d s of the [23]\.\d\d s that its header states", most.remark)
    assert most.n_samples / SR == pytest.approx(2.25, abs=0.15)
    with pytest.raises(ClipError, match=r"cut short.* of the [23]\.\d\d s"):
        read(put(tmp_path, "little.mp3", data[: len(data) // 3]))


@pytest.mark.parametrize(
    ("container", "codec", "sr"),
    [kind for kind in FFMPEG_FORMATS if kind[0] in ("ipod", "mp4", "webm", "asf", "wav", "caf", "flv")],
)
def test_the_same_rule_for_what_ffmpeg_reads(tmp_path, container, codec, sr):
    data = ffmpeg_encoded(container, codec, noise(3 * sr), sr)
    _, _, most = read(put(tmp_path, "most", data[: len(data) * 3 // 4]))
    assert most.remark.startswith("cut short: ")
    with pytest.raises(ClipError, match="cut short"):
        read(put(tmp_path, "little", data[: len(data) // 3]))


@pytest.mark.parametrize(
    "sizes", [{"riff_size": 0, "data_size": 0}, {"riff_size": 136, "data_size": 100}, {"data_size": 0}]
)
@pytest.mark.parametrize("n_samples", [40_000, 2_500_000])
def test_a_wav_whose_sizes_cannot_be_true_is_read_to_its_end_and_named(tmp_path, sizes, n_samples):
    y = (noise(n_samples)[:, 0] * 32767).astype(np.int16)
    got, _, end = read(put(tmp_path, "clip.wav", wav(y, **sizes)))
    np.testing.assert_array_equal(got[:, 0], y / np.float32(32768))
    assert end.remark.startswith("no stated length")


def test_a_wav_without_samples_holds_none_though_other_chunks_follow(tmp_path):
    notes = b"LIST" + struct.pack("<I", 18) + b"INFOISFT\x06\0\0\0Lavf5\0"
    empty = wav(np.zeros(0, np.int16), riff_size=36 + len(notes)) + notes
    with pytest.raises(ClipError, match="it holds no samples"):
        read(put(tmp_path, "clip.wav", empty))


def test_a_flac_of_unknown_length_is_a_row_of_the_length_that_it_has(tmp_path):
    unknown = FLAC[:21] + bytes([FLAC[21] & 0xF0]) + bytes(4) + FLAC[26:]
    y, _, end = read(put(tmp_path, "clip.flac", unknown))
    assert (len(y), end.n_samples, end.remark) == (3 * SR, 3 * SR, "")
    known = featurize_clip(put(tmp_path, "known.flac", FLAC))
    np.testing.assert_array_equal(featurize_clip(tmp_path / "clip.flac"), known)


def test_an_mp3_in_wav_whose_header_counts_the_padding_is_a_row(tmp_path):
    data = bytearray(encoded("WAV", "MPEG_LAYER_III", SOUND[: SR // 2], SR))
    at = data.index(b"fact") + 8
    struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] + 2 * 1152)
    _, _, end = read(put(tmp_path, "clip.wav", bytes(data)))
    assert end.remark == ""


def test_the_duration_is_what_was_decoded(tmp_path):
    # Frames of 32 kbit/s first and of 320 after that: by the first ones it would last ten times as long.
    quiet, loud = (ffmpeg_encoded("mp3", "libmp3lame", SOUND[: n * SR // 10], SR) for n in (1, 20))
    folder = tmp_path / "data" / "dog"
    folder.mkdir(parents=True)
    path = put(folder, "clip.mp3", quiet[417:] + loud[417:])
    y, _, _ = read(path)
    cache = build(tmp_path / "data", tmp_path / "features.h5", classes=("dog",)).cache
    assert cache.columns["duration"][0] == pytest.approx(len(y) / SR)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.r_[noise(SR), np.zeros((7 * SR, 1))], "no sound in the 4.1 s that are used; there is sound elsewhere"),
        (noise(SR) * [1, -1], "its channels are in opposite phase and cancel"),
        (noise(SR) * [1, -1] + [0, 2e-5], "its channels are in opposite phase and cancel"),
        (noise(SR) * [1, -0.5], ""),
        (noise(SR), ""),
        (np.zeros((SR, 1)), ""),
    ],
)
def test_a_row_without_sound_says_why(tmp_path, y, said):
    folder = tmp_path / "data" / "dog"
    folder.mkdir(parents=True)
    soundfile.write(folder / "clip.wav", y, 16000)
    cache = build(tmp_path / "data", tmp_path / "features.h5", classes=("dog",)).cache
    assert cache.columns["remark"][0].decode() == said
