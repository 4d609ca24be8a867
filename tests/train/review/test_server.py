"""The server of the review: it answers the page that knows the token, and sends nothing but what it is for."""

import http.client
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cache import open_cache
from cache.shared.errors import UserError
from featurize import build
from tests import ROOT
from tests.helpers.caches import in_windows
from tests.helpers.made_runs import made_crossval
from tests.helpers.tones import write_clips
from train.review import clips
from train.review.clips import Clip, ClipDesk, make_queue, opened_review
from train.review.server import Server
from train.runs.record import read_record
from train.runs.tables import read_predictions

MISTAKEN = ["dog/1s0_nohash_0.wav", "cat/1s3_nohash_1.wav"]


@pytest.fixture(scope="module")
def place(tones: Path, tones_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with DATA, its cache and a cross-validation in which two clips are disputed."""
    folder = tmp_path_factory.mktemp("review")
    shutil.copytree(tones, folder / "data")
    shutil.copy(tones_cache, folder / "features.h5")
    made_crossval(folder / "run", folder / "features.h5", mistaken=MISTAKEN)
    return folder


@pytest.fixture
def server(place: Path) -> Iterator[Server]:
    (place / "corrections.csv").unlink(missing_ok=True)
    with opened_review(place / "run", None, None, None) as opened:
        thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield opened
        opened.shutdown()
        thread.join()


def ask(
    server: Server, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, "http.client.HTTPMessage"]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    given = {"X-Token": server.token, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("GET" if body is None else "POST", path, body, given)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def decide(server: Server, **what: Any) -> tuple[int, dict[str, Any]]:
    status, content, _ = ask(server, "/decide", json.dumps(what).encode())
    return status, json.loads(content)


def lines(place: Path) -> list[str]:
    return (place / "corrections.csv").read_text().splitlines()[1:]


def test_the_most_doubtful_labels_come_first_with_the_reason(server: Server, place: Path) -> None:
    state = json.loads(ask(server, "/state")[1])
    assert len(state["labels"]) == 48
    assert 2 <= state["n_suspects"] < 48
    first = [json.loads(ask(server, f"/item/{i}")[1]) for i in range(state["n_suspects"])]
    assert {*MISTAKEN} <= {item["path"] for item in first}
    tested = read_predictions(place / "run", ["dog", "cat", "bird"])
    mean = dict(zip(tested.paths, tested.mean, strict=True))
    assert all(item.suspect for item in server.desk.items[: len(first)])
    for item in first:
        assert item["probabilities"][0][1] == pytest.approx(mean[item["path"]].max())
        assert f"{100 * mean[item['path']].max():.1f} %" in item["why"]


def test_only_our_page_is_answered(server: Server) -> None:
    assert ask(server, "/state")[0] == 200
    for path in ("/state", "/item/0", "/picture/0", "/sound/0"):
        assert ask(server, path, X_Token="guess")[0] == 401
        assert ask(server, path, X_Token="")[0] == 401
    assert ask(server, "/state", Host="evil.example")[0] == 403
    assert ask(server, "/state", Host=f"evil.example:{server.server_port}")[0] == 403
    assert ask(server, "/state", Origin="https://evil.example")[0] == 403
    assert ask(server, "/state", Origin="null")[0] == 403
    assert ask(server, "/state", Sec_Fetch_Site="cross-site")[0] == 403
    body = json.dumps({"item": 0, "decision": "right"}).encode()
    assert ask(server, "/decide", body, X_Token="guess")[0] == 401
    assert ask(server, "/decide", body, Origin="http://127.0.0.1:1")[0] == 403
    assert not server.desk.file.exists()
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_without_the_token_there_is_a_page_without_a_word_about_the_clips(server: Server) -> None:
    for path in ("/", "/review.js", "/near.js", "/edges.js", "/review.css"):
        status, content, headers = ask(server, path, X_Token="")
        assert status == 200
        assert server.token.encode() not in content
        assert b"nohash" not in content
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        *("/item/48", "/item/-1", "/item/x", "/sound/", "/sound/../../etc/passwd", "/etc/passwd"),
        *("/%2e%2e/run/run.json", "/review.html", "/review.css/../server.py", "/item/" + "9" * 5000),
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_the_sound_is_that_of_the_clip(server: Server, place: Path) -> None:
    path = json.loads(ask(server, "/item/0")[1])["path"]
    status, whole, headers = ask(server, "/sound/0")
    assert (status, headers["Content-Type"]) == (200, "audio/wav")
    heard, sr = soundfile.read(io.BytesIO(whole))
    expected, _ = soundfile.read(place / "data" / path)
    assert sr == 16000
    np.testing.assert_allclose(heard, expected, atol=2 / 32768)


def test_the_clips_most_like_it_are_sent_as_its_views_and_no_others(server: Server, place: Path) -> None:
    near = json.loads(ask(server, "/item/0")[1])["near"]
    cache = open_cache(place / "features.h5")
    row = cache.paths.index(json.loads(ask(server, "/item/0")[1])["path"])
    assert [one["path"] for one in near] == [cache.paths[(row + by) % 48] for by in (1, 2, 16)]
    assert [one["label"] for one in near] == [one["path"].split("/")[0] for one in near]
    for view, one in enumerate(near, start=1):
        heard, _ = soundfile.read(io.BytesIO(ask(server, f"/sound/0/{view}")[1]))
        np.testing.assert_allclose(heard, soundfile.read(place / "data" / one["path"])[0], atol=2 / 32768)
        assert ask(server, f"/picture/0/{view}")[1].startswith(b"\x89PNG")
    for view in (-1, 4):
        assert [ask(server, f"/{what}/0/{view}")[0] for what in ("sound", "picture")] == [422, 422]


def test_a_run_without_its_table_of_clips_that_are_alike_is_reviewed_without_them(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (place / "run" / "nearest.csv").rename(place / "nearest.csv")
    try:
        with opened_review(place / "run", None, None, None) as server:
            assert server.desk.item(0)["near"] == []
    finally:
        (place / "nearest.csv").rename(place / "run" / "nearest.csv")
    (said,) = [line for line in capfd.readouterr().err.splitlines() if "nearest.csv" in line]
    assert "nearest.csv is missing" in said
    assert said.endswith("clips that are alike are not shown")


@pytest.mark.parametrize("damage", ["path,nearest\ndog/1s0_nohash_0.wav\n", "path\n", "\0", 'path,nearest\n"a,b\n'])
def test_a_damaged_table_of_clips_like_it_costs_itself_alone(
    damage: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = place / "run" / "nearest.csv"
    before = file.read_text()
    file.write_text(damage)
    try:
        with opened_review(place / "run", None, None, None) as server:
            assert len(server.desk.items) == 48
            assert server.desk.item(0)["near"] == []
    finally:
        file.write_text(before)
    (said,) = [line for line in capfd.readouterr().err.splitlines() if "nearest.csv" in line]
    assert said.startswith(f"warning: {file} is ")
    assert said.endswith("clips that are alike are not shown")


def test_of_a_long_recording_only_the_middle_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "LONGEST", 2.0)
    soundfile.write(tmp_path / "long.wav", np.repeat(np.arange(10) / 16, 8000), 8000)
    heard, sr = soundfile.read(io.BytesIO(clips.wav_of(tmp_path, "long.wav", 10.0, 5.0)))
    assert len(heard) == 2 * sr
    np.testing.assert_allclose(heard[[0, -1]], [4 / 16, 5 / 16], atol=1e-3)
    assert clips.starts_at(10.0, 5.0) == 4.0


def test_of_a_long_recording_in_windows_what_the_picture_shows_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "LONGEST", 6.0)
    levels = np.repeat(np.arange(1, 21), 16000) * (np.arange(320000) // 16000 >= 12)  # silent for 12 s
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        y = levels / 25 * np.sin(np.arange(320000) * (0.3 if name == "dog" else 0.5))
        soundfile.write(tmp_path / name / "long.wav", y, 16000)
    cache = build(tmp_path, tmp_path / "f.h5", classes="dog,cat", crop="loudest", n_jobs=1).cache
    item = Clip(key="", path="dog/long.wav", label="dog", probabilities={"dog": 1.0}, why="", place=0, near=[])
    desk = ClipDesk([item], cache, tmp_path, "run")
    said, (heard, sr) = desk.item(0), soundfile.read(io.BytesIO(desk.sound(0)))
    assert (said["sound_starts"], len(heard)) == (14.0, 6 * sr)
    assert 14 <= said["starts"] < said["ends"] <= 20
    np.testing.assert_allclose(heard, soundfile.read(tmp_path / "dog" / "long.wav")[0][14 * sr : 20 * sr], atol=1e-3)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", "PCM_24"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("AIFF", "PCM_16"), ("CAF", "ALAC_16")),
        *(("FLAC", "PCM_24"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")),
    ],
)
def test_whatever_the_format_the_browser_gets_a_plain_wav(container: str, subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x", 0.5 * np.sin(np.arange(8000) / 9), 8000, subtype, format=container)
    (tmp_path / "x").rename(tmp_path / f"x.{container.lower()}")
    expected = soundfile.read(tmp_path / f"x.{container.lower()}")[0]
    sent = clips.wav_of(tmp_path, f"x.{container.lower()}", len(expected) / 8000, len(expected) / 16000)
    assert (soundfile.info(io.BytesIO(sent)).format, soundfile.info(io.BytesIO(sent)).subtype) == ("WAV", "PCM_16")
    np.testing.assert_allclose(soundfile.read(io.BytesIO(sent))[0], expected, atol=1e-3)


def test_what_browsers_do_not_play_and_what_is_too_loud_for_16_bits_is_decoded_for_them(tmp_path: Path) -> None:
    y = np.sin(np.arange(8000) / 9) * 3
    soundfile.write(tmp_path / "loud.aiff", np.stack([y, y / 2, y / 4], axis=1), 8000, subtype="FLOAT")
    heard, _ = soundfile.read(io.BytesIO(clips.wav_of(tmp_path, "loud.aiff", 1.0, 0.5)))
    np.testing.assert_allclose(heard, y * 7 / 12 / np.abs(y * 7 / 12).max(), atol=1e-3)


@pytest.mark.parametrize("path", ["../secret.wav", "/etc/passwd", "dog/../../secret.wav", "dog/a\0b.wav"])
def test_a_path_that_leads_out_of_data_is_not_opened(path: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of the folder of clips"):
        clips.wav_of(tmp_path / "data", path, 1.0, 0.5)


def test_a_clip_of_several_windows_is_one_item_with_its_first_window_in_its_place(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = open_cache(place / "features.h5")
    windows = in_windows(cache, tmp_path / "features.h5", [3] + [1] * 47)
    record, cache = read_record(place / "run"), open_cache(windows)
    (item,) = [one for one in make_queue(place / "run", record, cache) if one.place == 0]
    shown = ClipDesk([item], cache, place / "data", "run").item(0)
    assert (shown["path"], shown["duration"], shown["starts"]) == (cache.clip_paths[0], 2.0, 0.0)
    assert str(shown["why"]).endswith(
        ". The picture shows the first of its 3 windows; the probabilities are the mean of all."
    )
    assert all("picture" not in one.why for one in make_queue(place / "run", record, cache) if one.place)
    assert [one["path"] for one in shown["near"]] == [cache.clip_paths[i] for i in (1, 2, 16)]
    assert capsys.readouterr().err == ""


def test_a_clip_that_is_gone_is_told_in_words(server: Server, place: Path) -> None:
    path = place / "data" / json.loads(ask(server, "/item/5")[1])["path"]
    content = path.read_bytes()
    path.unlink()
    status, answer, _ = ask(server, "/sound/5")
    path.write_bytes(content)
    assert status == 422
    assert "error" in json.loads(answer)
    assert ask(server, "/sound/5")[0] == 200


def test_a_decision_is_on_the_disk_before_it_is_answered_and_is_found_again(server: Server, place: Path) -> None:
    items = [json.loads(ask(server, f"/item/{i}")[1]) for i in range(5)]
    cache = open_cache(place / "features.h5")
    sha256 = dict(zip(cache.paths, cache.columns["sha256"].tolist(), strict=True))
    for i, (decision, new) in enumerate(
        [("right", ""), ("change", "owl"), ("both", "bird"), ("unsure", ""), ("unusable", "")]
    ):
        new = next(name for name in ("bird", "cat") if name != items[i]["label"]) if decision == "both" else new
        status, state = decide(server, item=i, decision=decision, new=new)
        assert (status, state["done"]) == (200, [*range(i + 1)])
        cells = lines(place)[-1].split(",")
        assert cells[:5] == [sha256[items[i]["path"]].decode(), items[i]["path"], items[i]["label"], decision, new]
        assert cells[7] == str(place / "run")
        assert json.loads(ask(server, f"/item/{i}")[1])["decision"] == {"decision": decision, "new": new}
    with opened_review(place / "run", None, None, None) as again:
        assert again.desk.state()["done"] == [0, 1, 2, 3, 4]
        assert again.token != server.token
    status, state = decide(server, item=1, decision="undo")
    assert (status, state["done"]) == (200, [0, 2, 3, 4])
    assert len(lines(place)) == 6


@pytest.mark.parametrize(
    "what",
    [
        {"item": 48, "decision": "right"},
        {"item": -1, "decision": "right"},
        {"item": True, "decision": "right"},
        {"item": "0", "decision": "right"},
        {"item": 0, "decision": "guess"},
        {"item": 0, "decision": ["right"]},
        {"item": 0, "decision": "change"},
        {"item": 0, "decision": "change", "new": "../owl"},
        {"item": 0, "decision": "change", "new": ".."},
        {"item": 0, "decision": "change", "new": "two\nlines"},
        {"item": 0, "decision": "change", "new": "x" * 300},
        {"item": 0, "decision": "change", "new": 7},
        {"item": 0, "decision": "right", "new": "cat"},
    ],
)
def test_a_decision_that_is_none_is_refused_and_writes_nothing(server: Server, place: Path, what: Any) -> None:
    status, answer = decide(server, **what)
    assert status == 422
    assert answer["error"]
    assert not (place / "corrections.csv").exists()


def test_a_body_that_is_none_or_too_long_is_refused(server: Server, place: Path) -> None:
    for body in (b"", b"[]", b"{", b"5", b"[" * 9000, b"\xff"):
        assert ask(server, "/decide", body)[0] == 400
    assert ask(server, "/decide", b"x" * 10_001)[0] == 413
    assert ask(server, "/elsewhere", b"{}")[0] == 404
    assert not (place / "corrections.csv").exists()


def test_one_class_can_be_reviewed_and_there_must_be_something_to_review(place: Path) -> None:
    with opened_review(place / "run", None, None, "cat") as server:
        assert {item.label for item in server.desk.items} == {"cat"}
    with pytest.raises(UserError, match="there is no class 'owl'"), opened_review(place / "run", None, None, "owl"):
        pass
    with pytest.raises(UserError, match="there is no such run"), opened_review(place / "none", None, None, None):
        pass


@pytest.mark.parametrize("size", ["9" * 5000, "-1", "x", "\u0663"])
def test_a_length_that_is_none_is_refused_and_the_server_goes_on(
    server: Server, size: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as raw:
        head = ("POST /decide HTTP/1.1", f"Host: {server.hosts[0]}", f"X-Token: {server.token}")
        raw.sendall("\r\n".join([*head, f"Content-Length: {size}", "", ""]).encode())
        assert raw.recv(100).split()[1] in (b"413", b"400")
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        raw.recv(100)
    assert ask(server, "/state")[0] == 200
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_thousand_clips_take_no_more_memory_than_a_hundred(tmp_path: Path) -> None:
    build(write_clips(tmp_path / "data", seed=1, n_speakers=167), tmp_path / "features.h5")
    run = made_crossval(tmp_path / "run", tmp_path / "features.h5", n_repeats=1)
    command = [sys.executable, "-m", "train", "review", str(run), "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, token = process.stdout.readline().strip().removeprefix("review: http://").split("/#")
        connection, most = http.client.HTTPConnection(host, timeout=60), []
        for i in range(1000):
            for what in ("item", "picture", "sound"):
                connection.request("GET", f"/{what}/{i}", headers={"X-Token": token})
                answer = connection.getresponse()
                assert (answer.status, len(answer.read()) > 0) == (200, True)
            if i in (99, 999):
                (peak,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
                most.append(int(peak))
        process.kill()
    # Their sounds and rows are 77 MB.
    assert most[1] - most[0] < 8000


def test_a_port_that_is_taken_is_one_line(server: Server, place: Path) -> None:
    with (
        pytest.raises(UserError, match=f"port {server.server_port} cannot be used"),
        opened_review(place / "run", None, None, None, server.server_port),
    ):
        pass
