"""A damaged or hostile file handed in as a cache: refused in one line, or read exactly as it was written."""

import json
import os
import random
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import soundfile

from cache import CacheError, open_cache
from cache.__main__ import app
from cache.file.columns import COLUMNS, REJECTED, fingerprint
from cache.file.container import ALIGNMENT, SEAL_OFFSET, seal
from cache.file.header import FORMAT_VERSION, Header, lacking
from cache.file.settings import SETTINGS, MelSettings
from cache.labels.table import ColumnNames
from cache.look.info import check_rows
from featurize import build
from tests import ROOT
from tests.helpers.amounts import amount

DATASETS = ("X", "y", *COLUMNS, *REJECTED)
N = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two dogs, a cat and a bird, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("small") / "data"
    rng = np.random.default_rng(0)
    for path in ("dog/a.wav", "dog/b.wav", "cat/c.wav", "bird/ü.wav"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, rng.normal(0, 0.1, 2000), 16000)
    (folder / "bird" / "bad.wav").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def good(data):
    """The cache of `data`; treat it as read-only."""
    build(data, data.parent / "good.h5")
    return data.parent / "good.h5"


@pytest.fixture(scope="module")
def content(good):
    with h5py.File(good) as h5:
        attributes = {name: getattr(v, "tolist", lambda v=v: v)() for name, v in h5.attrs.items()}
        return attributes, {name: h5[name][...] for name in DATASETS}


@pytest.fixture
def forge(content, tmp_path):
    """Write a cache of the small one's content with changes, and with checksums that agree with them."""

    def write(attributes=(), arrays=(), without=(), make=None):
        file = tmp_path / "forged.h5"
        # A file system waits for the disk when a file is emptied and written again.
        file.unlink(missing_ok=True)
        attrs = {k: v for k, v in {**content[0], **dict(attributes)}.items() if k not in without}
        data = {k: v for k, v in {**content[1], **dict(arrays)}.items() if k not in without}
        if "fingerprint" not in (*dict(attributes), *without):
            try:
                settings = MelSettings(**{name: attrs[name] for name in SETTINGS})
                names = tuple(attrs["class_names"])
                header = Header(settings, attrs["feature_version"], names, data["X"].dtype.name)
                attrs["fingerprint"] = fingerprint(header, data)
            except (KeyError, TypeError, AttributeError):
                pass
        # All that HDF5 writes on multiples of ALIGNMENT, so that there is room for the seal.
        options = {"libver": "v110", "alignment_threshold": 1, "alignment_interval": ALIGNMENT}
        with h5py.File(file, "w", **options) as h5:
            for name, array in data.items():
                if make and name in make:
                    make[name](h5, name, array)
                else:
                    dtype = h5py.string_dtype("utf-8", array.dtype.itemsize) if array.dtype.kind == "S" else array.dtype
                    h5.create_dataset(name, array.shape, dtype)
                    if array.size:
                        h5[name].id.write(
                            h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array), h5[name].id.get_type()
                        )
            h5.attrs.update(attrs)
        put_seal(file)
        return file

    return write


def put_seal(file):
    """Make the seal agree with all that is in the file, rows and all."""
    with file.open("r+b") as raw:
        end = os.fstat(raw.fileno()).st_size
        os.pwrite(raw.fileno(), seal(raw.fileno(), ALIGNMENT, max(end, ALIGNMENT)), SEAL_OFFSET)


def refused(file):
    """Return the one line with which the reader refuses a file, and with it every command."""
    with pytest.raises(CacheError) as caught:
        open_cache(file)
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line
    assert len(line) < len(str(file)) + 250
    return line


def test_a_forged_copy_without_changes_is_accepted_so_that_the_others_are_refused_for_their_changes(forge, good):
    assert open_cache(forge()).fingerprint == open_cache(good).fingerprint
    assert check_rows(open_cache(forge())) == N


def refused_everywhere(file):
    """As `refused`, and both commands say that line and no other."""
    line = refused(file)
    for command in ("info", "verify"):
        with pytest.raises(CacheError) as caught:
            app([command, str(file)], standalone_mode=False)
        assert str(caught.value) == line
    return line


@pytest.mark.parametrize("command", ["info", "verify", "plot"])
def test_a_command_asks_the_reader_first_and_says_what_it_says(command, tmp_path, monkeypatch):
    def refuse(file):
        raise CacheError(f"{file} is refused")

    monkeypatch.setattr("cache.file.reader.open_cache", refuse)
    monkeypatch.setattr("cache.open_cache", refuse)
    # Whatever looked at the file before would not find it.
    with pytest.raises(CacheError, match=r"missing.h5 is refused$"):
        app([command, str(tmp_path / "missing.h5")], standalone_mode=False)


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    file = tmp_path / "file.h5"
    for bytes_ in (b"", b"\x89", b"hello", b"RIFF" + bytes(100), b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n"):
        file.write_bytes(bytes_)
        assert "HDF5 file" in refused_everywhere(file)
    for array in (np.zeros(3), np.array([{"a": 1}], object)):
        with file.open("wb") as out:
            np.save(out, array)
        assert "not an HDF5 file" in refused_everywhere(file)
    with h5py.File(file, "w") as h5:
        h5["X"] = np.zeros((2, 128, 128, 1))
    assert "not a cache" in refused_everywhere(file)


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        assert "not a file" in refused_everywhere(place)
    assert "no such cache" in refused_everywhere(tmp_path / "missing.h5")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in refused_everywhere(tmp_path / "loop")


def test_a_file_cut_at_any_byte_is_refused(good, tmp_path):
    whole = good.read_bytes()
    edges = {0, 1, 8, 48, len(whole)}
    with h5py.File(good) as h5:
        for name in DATASETS:
            if h5[name].size:
                start = h5[name].id.get_offset()
                edges |= {start, start + h5[name].nbytes}
    rng = random.Random(0)
    lengths = {edge + step for edge in edges for step in (-1, 0, 1)}
    lengths |= {rng.randrange(len(whole)) for _ in range(amount(40, 150))}
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole)
    for length in sorted((n for n in lengths if 0 <= n < len(whole)), reverse=True):
        os.truncate(cut, length)
        with pytest.raises(CacheError):
            open_cache(cut)


def same(cache, other):
    pairs = [(cache.X, other.X), (cache.y, other.y)]
    pairs += [(cache.columns[name], other.columns[name]) for name in COLUMNS]
    pairs += [(cache.rejected[name], other.rejected[name]) for name in REJECTED]
    return cache.header == other.header and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def flips(file, offsets, rng):
    """Yield each offset while one bit of its byte is flipped."""
    with file.open("r+b", buffering=0) as raw:
        for offset in offsets:
            (byte,) = os.pread(raw.fileno(), 1, offset)
            os.pwrite(raw.fileno(), bytes([byte ^ 1 << rng.randrange(8)]), offset)
            yield offset
            os.pwrite(raw.fileno(), bytes([byte]), offset)


def test_a_flipped_bit_outside_of_x_is_refused_or_was_in_a_gap(good, tmp_path):
    file = tmp_path / "flipped.h5"
    file.write_bytes(good.read_bytes())
    whole = open_cache(good)
    start, stop = whole.X.offset, whole.X.offset + whole.X.nbytes
    rng = random.Random(1)
    # Bytes that are in use, and a few of the zeros between them.
    used = [i for i, byte in enumerate(file.read_bytes()) if byte and not start <= i < stop]
    gaps = [i for i, byte in enumerate(file.read_bytes()) if not byte and not start <= i < stop]
    n_used, n_refused = min(amount(150, 500), len(used)), 0
    for offset in flips(file, rng.sample(used, n_used) + rng.sample(gaps, amount(60, 200)), rng):
        try:
            cache = open_cache(file)
        except CacheError:
            n_refused += 1
        else:
            assert same(cache, whole), offset
    assert n_refused > 0.6 * n_used


def test_a_flipped_bit_in_x_is_found_by_verify(good, tmp_path):
    file = tmp_path / "flipped.h5"
    file.write_bytes(good.read_bytes())
    X = open_cache(good).X
    rng = random.Random(2)
    offsets = [X.offset, X.offset + X.nbytes - 1, *(X.offset + rng.randrange(X.nbytes) for _ in range(amount(20, 60)))]
    for offset in flips(file, offsets, rng):
        row = (offset - X.offset) // X[0].nbytes
        with pytest.raises(CacheError, match=rf"1 of {N} rows are damaged, the first is row {row} "):
            check_rows(open_cache(file))


def test_values_that_are_not_finite_or_in_range_are_found_by_verify_even_under_their_own_crc(forge, content):
    from zlib import crc32

    for value in (np.nan, np.inf, -np.inf, -0.01, 1.01):
        X, crcs = content[1]["X"].copy(), content[1]["crc32"].copy()
        X[2, 5, 7, 0] = value
        crcs[2] = crc32(X[2])
        with pytest.raises(CacheError, match="row 2"):
            check_rows(open_cache(forge(arrays={"X": X, "crc32": crcs})))


def dataset(**options):
    return lambda h5, name, array: h5.create_dataset(name, data=array, **options)


def of_type(type_id):
    def make(h5, name, array):
        h5py.h5d.create(h5.id, name.encode(), type_id, h5py.h5s.create_simple(array.shape))

    return make


def weird_float():
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    return kind


def big_claim(h5, name, array):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((10**9, *array.shape[1:]))
    h5py.h5d.create(h5.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plist)


@pytest.mark.parametrize("name", ["X", "y", "path", "crc32", "rejected_size"])
@pytest.mark.parametrize(
    "make",
    [
        dataset(chunks=True),
        dataset(chunks=True, compression="gzip"),
        dataset(chunks=True, shuffle=True, fletcher32=True),
        of_type(h5py.h5t.STD_I16BE),
        of_type(h5py.h5t.py_create(np.dtype("O"), logical=True) if False else h5py.h5t.STD_REF_OBJ),
        of_type(h5py.h5t.C_S1),
        of_type(weird_float()),
        lambda h5, name, array: h5.create_group(name),
        lambda h5, name, array: h5.__setitem__(name, np.dtype("<f4")),
        lambda h5, name, array: h5.create_dataset(name, data=h5py.Empty("<f4")),
        lambda h5, name, array: h5.create_dataset(name, array.shape, h5py.string_dtype()),
        lambda h5, name, array: h5.create_dataset(name, (2**31, 2**31, 2**31), "<f4", chunks=(1, 1, 1)),
    ],
    ids=[
        "chunked",
        "compressed",
        "filtered",
        "big-endian-int",
        "object-reference",
        "one-byte-string",
        "odd-exponent",
        "group",
        "named-type",
        "null-space",
        "variable-string",
        "astronomic",
    ],
)
def test_a_dataset_that_could_not_be_mapped_as_it_is_is_refused(forge, name, make):
    refused(forge(make={name: make}))


def test_other_types_byte_orders_shapes_and_counts_are_refused(forge, content):
    X, y = content[1]["X"], content[1]["y"]
    for changed in (
        {"X": X.astype(">f4")},
        {"X": X.astype("<f8")},
        {"X": X.astype("<i4")},
        {"X": X.astype(">f2")},
        {"X": X[..., 0]},
        {"X": X[:, :64]},
        {"X": X[:3]},
        {"X": X[:0]},
        {"X": np.float32(1)},
        {"X": np.concatenate([X, X])},
        {"y": y[:3]},
        {"y": y[:, :2]},
        {"y": y.astype("<f8")},
        {"y": y[..., None]},
        {"size": content[1]["size"][:, None]},
        {"crc32": content[1]["crc32"][:3]},
        {"rejected_size": np.zeros(2, "<i8")},
    ):
        refused(forge(arrays={name: np.asarray(a) for name, a in changed.items()}))


def test_more_rows_than_the_file_has_bytes_for_are_refused(forge):
    assert "past the end" in refused_everywhere(forge(make={"X": big_claim}))


def test_links_and_foreign_storage_are_refused_and_never_opened(forge, tmp_path):
    # A pipe in the place of the foreign file: whoever opened it would wait for ever.
    pipe = tmp_path / "secret"
    os.mkfifo(pipe)

    def virtual(h5, name, array):
        layout = h5py.VirtualLayout(array.shape, array.dtype)
        layout[...] = h5py.VirtualSource(pipe, "X", array.shape)
        h5.create_virtual_dataset(name, layout)

    makes = {
        "soft": lambda h5, name, array: (h5.__setitem__("other", array), h5.__setitem__(name, h5py.SoftLink("/other"))),
        "dangling": lambda h5, name, array: h5.__setitem__(name, h5py.SoftLink("/nowhere")),
        "external link": lambda h5, name, array: h5.__setitem__(name, h5py.ExternalLink(str(pipe), "/X")),
        "external storage": lambda h5, name, array: h5.create_dataset(
            name, array.shape, array.dtype, external=[(str(pipe), 0, array.nbytes)]
        ),
        "virtual": virtual,
    }

    def waited(*_):
        raise AssertionError("the foreign file was opened")

    signal.signal(signal.SIGALRM, waited)
    for make in makes.values():
        for name in ("X", "y"):
            file = forge(make={name: make})
            signal.alarm(20)
            refused(file)
            signal.alarm(0)


def test_missing_and_additional_parts_are_refused(forge, content):
    for name in (*content[0], *DATASETS):
        refused(forge(without=[name]))
    assert "'more'" in refused_everywhere(forge(attributes={"more": 1}))
    assert "'more'" in refused_everywhere(forge(arrays={"more": np.zeros(3)}))
    assert len(refused_everywhere(forge(attributes={"x" * 30000: 1}))) < 600


def test_a_cache_without_its_seal_is_refused_even_if_all_else_is_whole(good, forge, tmp_path):
    for whole in (good, forge()):
        file = tmp_path / "broken.h5"
        content = bytearray(whole.read_bytes())
        content[SEAL_OFFSET : SEAL_OFFSET + 8] = bytes(8)
        file.write_bytes(content)
        assert "seal is gone" in refused_everywhere(file)


def test_a_format_from_the_future_is_told_apart_from_damage(forge):
    for version in (FORMAT_VERSION + 1, 99, 0, -1):
        line = refused_everywhere(forge(attributes={"format_version": version, "new": 1}, without=["y"]))
        assert f"format version {version}" in line
        assert "damage" not in line


def odd_attributes():
    no_settings = {name: [None] for name in SETTINGS}
    for name, kind in {**SETTINGS, "feature_version": int, "format_version": int, "max_per_class": int}.items():
        wrong = [b"bytes", np.array([1, 2]), np.array([]), h5py.Empty("f4"), np.zeros((), "V8")]
        wrong += ["16000"] if kind is not str else [1, 1.0, True]
        wrong += [True, 1.0] if kind is int else []
        wrong += [np.nan, np.inf, 1] if kind is float else []
        wrong += [1, 0.0] if kind is bool else []
        no_settings[name] = wrong
    return [(name, value) for name, values in no_settings.items() for value in values] + [
        (name, value)
        for name in ("format", "fingerprint", "versions", "data_dir")
        # HDF5 gives text in ASCII back as text, of which any can be the name of a folder.
        for value in (
            b"bytes" if name != "data_dir" else 1.0,
            1,
            ["a"],
            np.array([]),
            h5py.Empty("S1"),
            np.array([b"a"]),
        )
    ]


def test_attributes_of_another_type_are_refused(forge):
    for name, value in odd_attributes():
        print(name, repr(value))  # shown when it is not refused
        refused(forge(attributes={name: value}))


def test_an_attribute_that_points_into_the_file_is_refused(forge):
    for name in ("sr", "class_names", "format"):
        file = forge()
        with h5py.File(file, "r+") as h5:
            del h5.attrs[name]
            h5.attrs.create(name, h5["X"].ref, dtype=h5py.ref_dtype)
        put_seal(file)
        refused(file)


@pytest.mark.parametrize(
    "names",
    [
        ["dog", "cat", "../bird"],
        ["dog", "cat", "/tmp/bird"],
        ["dog", "cat", "a/b"],
        ["dog", "cat", ".."],
        ["dog", "cat", "."],
        ["dog", "cat", ""],
        ["dog", "cat", "dog"],
        ["dog", "cat"],
        ["dog", "cat", "bird", "cow"],
        "dog",
        [1, 2, 3],
        np.array([b"dog", b"cat", b"bird"]),
        np.array([], "S3"),
    ],
    ids=str,
)
def test_class_names_that_are_no_folder_names_or_do_not_fit_the_labels_are_refused(forge, names):
    refused(forge(attributes={"class_names": names}))


def test_versions_that_are_no_plain_object_are_refused(forge):
    for text in ("", "{", "[]", "1", '{"numpy": 2}', '{"numpy": {}}', "[" * 20000, '{"a": "\\ud800"}'):
        assert "'versions'" in refused(forge(attributes={"versions": text}))


def test_labels_that_are_not_one_hot_are_refused(forge, content):
    for row in ([0, 0, 0], [1, 1, 0], [0.5, 0.5, 0], [2, -1, 0], [np.nan, 0, 1], [np.inf, 0, 0]):
        y = content[1]["y"].copy()
        y[1] = row
        assert "one-hot" in refused(forge(arrays={"y": y}))


def test_columns_that_contradict_the_rest_are_refused(forge, content):
    def changed(name, value):
        column = content[1][name].copy()
        column = column.astype("S300") if column.dtype.kind == "S" else column
        column[1] = value
        return forge(arrays={name: column})

    paths = (b"../x.wav", b"/etc/passwd", b"dog/../../x", b"dog/..", b"dog/", b"cat/b.wav", b"b.wav", b"dog/a.wav", b"")
    paths += (
        b"dog/./b.wav",
        b"dog//b.wav",
        b"train/../dog/b.wav",
        b"train/cat/b.wav",
        b"other/dog/b.wav",
        b"train//b.wav",
    )
    for path in (*paths, b"dog/\xff.wav"):
        assert "path" in refused(changed("path", path))
    for name, values in {
        "duration": (np.nan, np.inf, 0, -1),
        "sr": (0, -1),
        "n_frames": (0, -5),
        "size": (-1, 0),
        "format": (b"\xff",),
        "sha256": (b"\xfe" * 64,),
    }.items():
        for value in values:
            assert name in refused(changed(name, value))
    assert "fingerprint" in refused(forge(attributes={"fingerprint": "0" * 64}))
    assert "max_per_class" in refused(forge(attributes={"max_per_class": -1}))
    for path in (b"dog/in/b.wav", b"train/dog/b.wav", b"Test/dog/in/b.wav", b"dog/..b.wav"):
        assert open_cache(changed("path", path)).columns["path"][1] == path


def test_a_change_without_its_checksum_is_refused(good, tmp_path):
    def change(h5, name):
        if name in h5.attrs:
            old = h5.attrs[name]
            value = old + "x" if isinstance(old, str) else not old if isinstance(old, np.bool_) else old
            h5.attrs[name] = [*old[1:], "other"] if name == "class_names" else value + 1 if value is old else value
        elif h5[name].dtype.kind == "S":
            h5[name].id.write(h5py.h5s.ALL, h5py.h5s.ALL, np.full_like(h5[name][...], b"x"), h5[name].id.get_type())
        else:
            h5[name][...] = h5[name][...] + 1

    names = set(DATASETS) - {"X"}
    with h5py.File(good) as h5:
        names |= set(h5.attrs)
    for name in sorted(names):
        file = tmp_path / "changed.h5"
        file.write_bytes(good.read_bytes())
        with h5py.File(file, "r+") as h5:
            change(h5, name)
        refused(file)


def test_control_characters_from_a_file_are_shown_escaped(forge, content, capsys):
    reason = content[1]["rejected_reason"].astype("S60")
    reason[0] = b"\x1b]0;owned\x07\n\xe2\x80\xae<script>"
    form = content[1]["format"].astype("S20")
    form[:] = b"\x1b[2J"
    versions = json.dumps({"numpy\x1b[31m": "2\r"})
    file = forge(attributes={"versions": versions}, arrays={"rejected_reason": reason, "format": form})
    app(["info", str(file)], standalone_mode=False)
    shown = capsys.readouterr().out
    assert not set("\x1b\x07\r\u202e").intersection(shown)
    assert r"\x1b]0;owned\x07\n\u202e<script>" in shown
    app(["info", str(file), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["rejected"][0]["reason"].endswith("<script>")


@pytest.mark.parametrize("version", [3, 4])
def test_a_cache_of_an_earlier_version_is_read_and_brought_up_to_date_without_computing(forge, data, version):
    file = forge({"format_version": version}, without=lacking(version))
    before = open_cache(file)
    assert (before.header.format_version, before.header.class_members) == (version, {})
    assert (before.header.crop, before.clips.tolist()) == ("middle", [*range(len(before))])
    assert before.header.columns == ColumnNames("", "", "", "")
    result = build(data, file)
    assert result.n_computed == 0
    assert result.cache.header.format_version == FORMAT_VERSION
    assert result.cache.fingerprint == before.fingerprint


@pytest.mark.parametrize(
    "members",
    [
        '{"dog": "rex"}',
        '{"dog": []}',
        '{"dog": ["a/b"]}',
        '{"cow": ["dog"]}',
        '{"dog": ["x", "x"]}',
        "[]",
        "{",
        '{"dog": [1]}',
    ],
)
def test_members_of_classes_that_make_no_sense_are_refused(forge, members):
    refused(forge({"class_members": members}))


def test_a_clip_in_a_folder_that_is_not_one_of_its_class_is_refused(forge):
    line = refused(forge({"class_members": '{"dog": ["wolf", "fox"]}'}))
    assert "a path that is not a file in the folder of its class" in line


@pytest.mark.parametrize("version", [1, 2])
def test_a_cache_of_an_earlier_version_is_left_alone_with_what_to_do(forge, data, version):
    file = forge(attributes={"format_version": version})
    before = file.read_bytes()
    line = refused_everywhere(file)
    assert f"it has format version {version}" in line
    assert "delete it and run `python -m featurize` again" in line
    with pytest.raises(CacheError, match="delete it and run"):
        build(data, file)
    assert file.read_bytes() == before
    file.unlink()
    assert build(data, file).cache.header.format_version == FORMAT_VERSION


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 1.0), (0.5, 0.0), (float("nan"), 0.0), (0.0, float("nan")), (-1.0, 0.0)]
)
def test_a_segment_that_its_path_does_not_name_is_refused(forge, content, start, end):
    columns = {name: content[1][name].copy() for name in ("start", "end")}
    columns["start"][0], columns["end"][0] = start, end
    assert "segment" in refused(forge(arrays=columns))


@pytest.mark.parametrize(
    ("path", "times"),
    [
        (b"../night.wav#1.000000-2.000000", (1.0, 2.0)),
        (b"/night.wav#1.000000-2.000000", (1.0, 2.0)),
        (b"night.wav#2.000000-1.000000", (2.0, 1.0)),
        (b"dog/night.wav#1.000000-2.000000", (0.0, 0.0)),
        (b"night.wav#1.000000-2.000000", (1.0, 2.5)),
    ],
)
def test_a_segment_outside_of_data_or_of_no_time_is_refused(forge, content, path, times):
    arrays = {name: content[1][name].copy() for name in ("start", "end")}
    arrays["path"] = content[1]["path"].astype("S60")
    arrays["path"][0], arrays["start"][0], arrays["end"][0] = path, *times
    refused(forge(arrays=arrays))


@pytest.mark.parametrize("tables", ["[1]", "{}", "no", '["a\\u0000b"]', '["\\ud800"]', '["/"]', '["a", "/etc"]'])
def test_tables_that_are_no_list_of_paths_are_refused(forge, tables):
    assert "'tables' makes no sense" in refused(forge(attributes={"tables": tables}))


@pytest.mark.parametrize("folder", ["/", "/etc"])
def test_a_folder_of_clips_that_is_not_relative_to_the_cache_is_refused(forge, folder):
    assert "'data_dir' makes no sense" in refused(forge(attributes={"data_dir": folder}))


def test_featurize_leaves_a_foreign_file_alone_and_sets_a_damaged_cache_aside(data, good, tmp_path):
    file = tmp_path / "features.h5"
    file.write_text("a diary")
    with pytest.raises(CacheError, match="not an HDF5 file"):
        build(data, file)
    assert file.read_text() == "a diary"
    file.write_bytes(good.read_bytes()[:-1])
    said: list[str] = []
    build(data, file, notify=said.append)
    assert any("features.h5.damaged" in line for line in said)
    assert open_cache(file).fingerprint == open_cache(good).fingerprint
    assert (tmp_path / "features.h5.damaged").read_bytes() == good.read_bytes()[:-1]


@pytest.mark.parametrize(
    "command", [["cache", "info"], ["cache", "verify"], ["train", "fit"], ["featurize", "--check"]]
)
def test_a_command_says_it_in_one_line(forge, data, tmp_path, command):
    file = forge(make={"X": dataset(chunks=True)})
    arguments = ["1", str(data), "--cache", str(file)] if "--check" in command else [str(file)]
    line = [sys.executable, "-m", *command, *arguments]
    done = subprocess.run(
        line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "contiguous" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", [-1, 4, 2**31 - 1, "its own class"])
def test_corrections_that_make_no_sense_are_refused(forge, content, value):
    corrected = np.zeros(len(content[1]["y"]), "<i4")
    corrected[0] = 1 + content[1]["y"][0].argmax() if value == "its own class" else value
    refused(forge(arrays={"corrected": corrected}))
