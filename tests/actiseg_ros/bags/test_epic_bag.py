"""EPIC-KITCHENS videos and narrations as rosbag2, read back by an independent reader."""

from __future__ import annotations

import csv
import itertools
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from actiseg_ros.bags.account import Account
from actiseg_ros.bags.epic_actions import (
    NarrationError,
    TimedAction,
    narration_events,
    read_actions,
)
from actiseg_ros.bags.epic_bag import FRAME_ID, BagError, BagOptions, write_bag
from actiseg_ros.bags.frame_folder import folder_rate, list_frames
from actiseg_ros.bags.orientation import of_picture
from tests.actiseg_ros.bags import videos

RATE, COUNT, SIZE = 10, 40, (96, 64)
COLUMNS = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "narration", "noun")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for index in range(COUNT):
            grey = np.full((SIZE[1], SIZE[0], 3), 5 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def table(path: Path, *rows: tuple[str, ...], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def folder_of(path: Path, numbers: Iterable[int], name: str = "frame_{:010d}.jpg") -> Path:
    path.mkdir()
    for number in numbers:
        grey = np.full((8, 8, 3), number % 256, np.uint8)
        cv2.imwrite(str(path / name.format(number)), grey)
    return path


@pytest.fixture
def narrations(tmp_path: Path) -> Path:
    return table(
        tmp_path / "narrations.csv",
        ("V_0", "V", "00:00:00.50", "00:00:02.80", "cut tomato", "tomato", "['tomato', 'plate']"),
        ("V_1", "V", "00:00:02.00", "00:00:03.00", "take board", "board:cutting", "[]"),
        ("W_0", "W", "00:00:01.00", "00:00:02.00", "wash pan", "pan", "[]"),
        columns=(*COLUMNS, "object_names"),
    )


def read(bag: Path) -> dict[str, list[tuple[int, Any]]]:
    # No type store is given: the definitions in the bag itself have to do.
    found: dict[str, list[tuple[int, Any]]] = {}
    with AnyReader([bag]) as reader:
        for connection, time_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((time_ns, message))
    return found


def test_a_video_becomes_a_bag_in_video_time(video: Path, narrations: Path, tmp_path: Path) -> None:
    summary = write_bag(video, narrations, "V", tmp_path / "bag")
    assert (summary.frames, summary.actions) == (COUNT, 2)
    topics = read(tmp_path / "bag")
    images = topics["/image/compressed"]
    for index, (time_ns, message) in enumerate(images):
        # A stamp of exactly zero means "not set" in ROS.
        assert time_ns == max(1, index * 10**9 // RATE)
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == time_ns
        assert message.header.frame_id == FRAME_ID and message.format == "jpeg"
        picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
        assert picture.shape == (SIZE[1], SIZE[0], 3)
        assert picture.mean() == pytest.approx(5 * index, abs=6)

    said = [(time_ns / 1e9, message.data) for time_ns, message in topics["/narration"]]
    assert said == [
        (0.5, "cut tomato"),
        (1.5, "cut tomato"),
        (2.0, "take board"),
        (2.8, "take board"),
        (3.0, ""),
    ]
    time_ns, first = topics["/action"][1]
    assert (time_ns, first.header.stamp.sec, first.header.stamp.nanosec) == (1.5e9, 0, 5e8)
    assert (first.duration.sec, first.duration.nanosec) == (2, 3e8)
    assert (first.object_names, first.target_name) == (["tomato", "plate"], "tomato")
    assert topics["/action"][2][1].target_name == "cutting board"
    assert topics["/action"][-1][1].narration == ""


def test_range_rate_size_and_raw_images(video: Path, narrations: Path, tmp_path: Path) -> None:
    options = BagOptions(start=1.0, stop=3.0, fps=5, size=(48, 32), raw=True)
    write_bag(video, narrations, "V", tmp_path / "bag", options)
    topics = read(tmp_path / "bag")
    times = [time_ns / 1e9 for time_ns, _ in topics["/image"]]
    assert times == pytest.approx(np.arange(1.0, 3.0, 0.2))
    message = topics["/image"][0][1]
    assert (message.width, message.height, message.step, message.encoding) == (48, 32, 144, "bgr8")
    assert message.data.reshape(32, 48, 3).mean() == pytest.approx(50, abs=6)
    # The action under way at the start is said there.
    assert topics["/narration"][0][0] == 1e9


def test_a_folder_of_frames_keeps_the_files_bytes(narrations: Path, tmp_path: Path) -> None:
    frames = folder_of(tmp_path / "frames", [1, 31, 61])
    (frames / "notes.txt").write_text("not a frame")
    info = tmp_path / "EPIC_100_video_info.csv"
    info.write_text("video_id,duration,fps,resolution\nV,9,30.0,8x8\n")
    write_bag(frames, narrations, "V", tmp_path / "bag")
    images = read(tmp_path / "bag")["/image/compressed"]
    assert [time_ns for time_ns, _ in images] == [1, 10**9, 2 * 10**9]
    assert images[1][1].data.tobytes() == (frames / "frame_0000000031.jpg").read_bytes()


def test_what_cannot_be_used_is_named_and_leaves_nothing(
    video: Path, narrations: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bag"

    def refused(told: str, kind: type[Exception] = BagError, **changes: Any) -> None:
        arguments = {"video": video, "narrations": narrations, "video_id": "V"} | changes
        with pytest.raises(kind, match=told):
            write_bag(out=out, **arguments)
        assert not out.exists()
        assert not list(tmp_path.glob(".bag*"))

    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:2000])
    empty = tmp_path / "empty"
    empty.mkdir()
    refused("no such video", video=tmp_path / "none.mp4")
    refused("cannot be decoded", video=cut)
    refused("has no frame named like .* holds nothing", video=empty)
    refused("no frame", options=BagOptions(start=100.0))
    refused("no narration of the video 'X'", NarrationError, video_id="X")
    refused("cannot be read", NarrationError, narrations=tmp_path / "none.csv")
    short = table(tmp_path / "short.csv", columns=COLUMNS[:3])
    refused("narration, noun", NarrationError, narrations=short)
    row = ("V_0", "V", "0.5", "00:00:02.80", "cut", "tomato")
    refused("line 2: start_timestamp", NarrationError, narrations=table(tmp_path / "a.csv", row))
    row = ("V_0", "V", "00:00:03.00", "00:00:02.80", "cut", "tomato")
    refused("not after", NarrationError, narrations=table(tmp_path / "b.csv", row))
    (empty / "frame_0000000001.jpg").write_bytes(b"\xff\xd8\xff broken")
    refused("frame rate .* is not known; give --fps", video=empty)
    refused("frame_0000000001.jpg", video=empty, options=BagOptions(fps=30))
    refused("camera.yaml: cannot be read", options=BagOptions(camera_info=tmp_path / "camera.yaml"))

    out.mkdir()
    with pytest.raises(BagError, match="exists"):
        write_bag(video, narrations, "V", out)


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": -1.0},
        {"start": float("nan")},
        {"start": float("inf")},
        {"stop": float("nan")},
        {"start": 2.0, "stop": 1.0},
        {"fps": 0.0},
        {"size": (0, 4)},
        {"quality": 0},
        {"storage": "x"},
    ],
)
def test_impossible_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(BagError):
        BagOptions(**wrong)


spans = st.lists(
    st.tuples(st.integers(0, 400), st.integers(1, 100)).map(lambda s: (s[0] / 10, sum(s) / 10)),
    min_size=1,
    max_size=6,
)


@given(spans=spans)
def test_at_every_moment_the_last_word_is_about_the_action_that_began_last(
    spans: list[tuple[float, float]],
) -> None:
    actions = [
        TimedAction(str(i), f"do {i}", start, stop, "") for i, (start, stop) in enumerate(spans)
    ]
    events = list(narration_events(actions))
    assert [event.time for event in events] == sorted(event.time for event in events)
    for tenth in range(0, 520, 3):
        now = tenth / 10 + 0.05
        lasting = [action.start for action in actions if action.start <= now < action.stop]
        last = next((event for event in reversed(events) if event.time <= now), None)
        if not lasting:
            assert last is None or last.action is None
            continue
        assert last is not None and last.action is not None
        assert last.action.start == max(lasting)
        assert now - last.time <= 1.0 + 1e-9


def test_actions_that_begin_together_are_all_said() -> None:
    actions = [
        TimedAction(str(i), f"do {i}", 1.0, stop, "") for i, stop in enumerate((2.0, 3.5, 2.0))
    ]
    events = [(event.time, event.action and event.action.narration_id)
              for event in narration_events(actions)]  # fmt: skip
    assert {name for _, name in events[:3]} == {"0", "1", "2"}
    assert [time for time, _ in events] == [1.0, 1.0, 1.0, 2.0, 3.0, 3.5]
    assert [name for _, name in events[3:]] == ["1", "1", None]


def test_actions_that_the_video_does_not_show_are_told(video: Path, tmp_path: Path) -> None:
    rows = [
        (f"V_{i}", "V", f"00:00:{i:02d}.10", f"00:00:{i:02d}.90", "cut tomato", "tomato")
        for i in range(20)
    ]
    path = table(tmp_path / "many.csv", *rows)
    summary = write_bag(video, path, "V", tmp_path / "bag")
    assert summary.actions == 4
    assert summary.losses == (
        "16 of 20 actions (V_4 … V_19) begin at second 4.10 or later, but the last frame is at "
        "3.90",
    )
    # What was cut off on purpose is no loss.
    options = BagOptions(start=1.0, stop=2.5)
    summary = write_bag(video, path, "V", tmp_path / "part", options)
    assert (summary.actions, summary.losses) == (2, ())
    assert summary.notes == ("18 actions lie outside the seconds chosen",)


def test_a_row_that_does_not_fit_is_told_by_line(video: Path, tmp_path: Path) -> None:
    head = ",".join(COLUMNS) + "\n"
    for row, told in (
        ("V_0,V,00:00:00.50,00:00:01.50,cut tomato", "line 2: has 5 fields"),
        ("V_0,V,00:00:00.50,00:00:01.50,wash knife, then board,knife", "line 2: has 7 fields"),
        ("V_0,V,00:00:61.50,00:00:01.50,cut,tomato", "line 2: start_timestamp is '00:00:61.50'"),
        ("V_0,V,00:00:00.50,nan,cut,tomato", "line 2: stop_timestamp is 'nan'"),
    ):
        path = tmp_path / "odd.csv"
        path.write_text(head + row + "\n")
        with pytest.raises(NarrationError, match=f"odd.csv, {told}"):
            write_bag(video, path, "V", tmp_path / "bag")
    path.write_bytes(b"\xef\xbb\xbf" + (head + "V_0,V,0:0:0.5,0:0:1,cut,tomato\n").encode())
    assert read_actions(path, "V")[0].target == "tomato"


@pytest.mark.parametrize(
    ("video_id", "listed", "start", "stop", "rate"),
    [
        ("P09_08", 29.97002997002997, 41.03, 41.79, 60),
        ("P24_09", 59.9400599400599, 801.84, 802.40, 60),
        ("P01_101", 50.0, 12.0, 13.5, 50),
        ("P01_101", 59.94, 812.0, 813.5, 50),
        ("lab", 29.97002997002997, 700.0, 703.0, 29.97002997002997),
        ("lab", 25.0, 20.0, 23.0, 12),
    ],
)
def test_frames_are_timed_by_the_numbers_in_the_table(
    tmp_path: Path, video_id: str, listed: float, start: float, stop: float, rate: float
) -> None:
    middle = round((start + stop) / 2 * rate) + 1
    frames = folder_of(tmp_path / "frames", range(middle - 8, middle + 9, 2))
    stamps = [f"00:{int(t // 60):02d}:{t % 60:05.2f}" for t in (start, stop)]
    path = table(
        tmp_path / "t.csv",
        ("x", video_id, *stamps, str(int(start * rate)), str(int(stop * rate)), "close", "fridge"),
        columns=(*COLUMNS[:4], "start_frame", "stop_frame", *COLUMNS[4:]),
    )
    (tmp_path / "EPIC_100_video_info.csv").write_text(
        f"video_id,duration,fps,resolution\n{video_id},2000,{listed},1920x1080\n"
    )
    summary = write_bag(frames, path, video_id, tmp_path / "bag")
    assert summary.notes[0] == f"{rate:g} frames a second, by the frame numbers in t.csv"
    topics = read(tmp_path / "bag")
    times = [time_ns / 1e9 for time_ns, _ in topics["/image/compressed"]]
    assert times[4] == pytest.approx((start + stop) / 2, abs=0.6 / rate)
    assert topics["/narration"][0][1].data == "close"


def test_rates_without_frame_numbers(narrations: Path, tmp_path: Path) -> None:
    folder = list_frames(folder_of(tmp_path / "frames", range(1, 61)), Account(refuse=True))
    info = tmp_path / "EPIC_100_video_info.csv"

    def rate(video_id: str, listed: str = "") -> float:
        info.write_text(f"video_id,duration,fps\n{video_id},{listed}\n" if listed else
                        "video_id,duration,fps\n")  # fmt: skip
        return folder_rate(folder, video_id, narrations, Account(refuse=True))

    assert rate("P01_01") == rate("P01_01", "500,59.94") == 60
    assert rate("P01_101") == rate("P01_101", "500,59.94") == 50
    assert rate("W", "2.0,30.0") == 30
    with pytest.raises(BagError, match="not known; give --fps"):
        rate("W")
    # The whole folder of a video of two seconds, extracted at the camera's rate or at another.
    for video_id, listed in (("P01_101", "2.0,30.0"), ("W", "1.0,30.0")):
        with pytest.raises(BagError, match=r"60 frames in the .* s of .*; give --fps"):
            rate(video_id, listed)
    with pytest.raises(ValueError, match="line 2: fps is 'x'"):
        rate("W", "2.0,x")


def test_frame_numbers_that_fit_no_rate_are_told(tmp_path: Path) -> None:
    frames = folder_of(tmp_path / "frames", [1, 2])
    rows = [("x", "V", "00:00:10.00", "00:00:20.00", n, m, "cut", "tomato")
            for n, m in (("300", "900"), ("500", "20"))]  # fmt: skip
    columns = (*COLUMNS[:4], "start_frame", "stop_frame", *COLUMNS[4:])
    with pytest.raises(BagError, match="do not follow its time stamps"):
        write_bag(frames, table(tmp_path / "t.csv", *rows, columns=columns), "V", tmp_path / "bag")


def test_real_tables_tell_the_published_rate(shared: Path, tmp_path: Path) -> None:
    csv_file = shared / "epic" / "EPIC_100_validation.csv"
    folder = list_frames(folder_of(tmp_path / "f", [1, 60]), Account(refuse=True))
    for video_id in ("P01_11", "P09_08", "P24_09", "P04_24"):
        assert folder_rate(folder, video_id, csv_file, Account(refuse=True)) == 60


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("frame_{:010d}.jpg", 1), ("P01_01_frame_{:010d}.jpg", 1), ("{:d}.png", 1),
        ("img2_{:04d}.JPG", 0),
    ],
)  # fmt: skip
def test_names_and_first_numbers_of_frames(
    narrations: Path, tmp_path: Path, names: str, first: int
) -> None:
    frames = folder_of(tmp_path / "frames", range(first, first + 12), names)
    write_bag(frames, narrations, "V", tmp_path / "bag", BagOptions(fps=10))
    times = [time_ns for time_ns, _ in read(tmp_path / "bag")["/image/compressed"]]
    assert times == [max(1, n * 10**8) for n in range(12)]


def test_folders_that_are_not_one_video_are_told(narrations: Path, tmp_path: Path) -> None:
    account = Account(refuse=True)
    frames = folder_of(tmp_path / "frames", [*range(1, 20), *range(31, 40)])
    (frames / "cover_1.png").write_bytes(b"")
    assert len(list_frames(frames, account).frames) == 28
    assert "frame_" in account.notes[0] and "11 frames are missing" in account.losses[0]
    (frames / "frame_0000000001.png").write_bytes(b"")
    with pytest.raises(BagError, match="have the same number"):
        list_frames(frames, account)
    mixed = folder_of(tmp_path / "mixed", [1, 2], "a{}.jpg")
    (mixed / "b1.jpg").write_bytes(b"")
    with pytest.raises(BagError, match="begin differently"):
        list_frames(mixed, account)
    other = tmp_path / "other"
    other.mkdir()
    (other / "frame_1.bmp").write_bytes(b"")
    with pytest.raises(BagError, match=r"it holds 1 with \.bmp"):
        list_frames(other, account)


def test_pictures_of_several_sizes_are_told(narrations: Path, tmp_path: Path) -> None:
    frames = folder_of(tmp_path / "frames", range(1, 12))
    small = cv2.imencode(".jpg", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    (frames / "frame_0000000006.jpg").write_bytes(small)
    options = BagOptions(fps=10)
    notes = write_bag(frames, narrations, "V", tmp_path / "bag", options).notes
    (note,) = (note for note in notes if "sizes" in note)
    assert "2 sizes" in note and "30x20 from second 0.50" in note
    alike = BagOptions(fps=10, size=(64, 48))
    notes = write_bag(frames, narrations, "V", tmp_path / "alike", alike).notes
    assert not any("sizes" in note for note in notes)


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_as_their_exif_data_say(
    narrations: Path, tmp_path: Path, orientation: int
) -> None:
    bgr = cv2.resize(videos.picture(30), (48, 32), interpolation=cv2.INTER_NEAREST)
    _, encoded = cv2.imencode(".jpg", bgr)
    data = with_exif(encoded.tobytes(), orientation)
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "frame_1.jpg").write_bytes(data)
    summary = write_bag(frames, narrations, "V", tmp_path / "bag", BagOptions(fps=10, quality=95))
    message = read(tmp_path / "bag")["/image/compressed"][0][1]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    shown = cv2.imdecode(message.data, flags)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # OpenCV turns it
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 3
    turned = 2 <= orientation <= 8
    assert bool(summary.notes) == turned
    assert (message.data.tobytes() == data) == (not turned)


def test_strange_exif_data_turn_nothing() -> None:
    _, encoded = cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))
    data = with_exif(encoded.tobytes(), 6)
    for place, value in itertools.product(range(4, 36), (0, 255)):
        broken = bytearray(data)
        broken[place] = value
        assert str(of_picture(bytes(broken)))
    assert str(of_picture(b"")) == str(of_picture(b"\x89PNG\r\n\x1a\n")) == "as stored"


CAMERA = """image_width: 96
image_height: 64
camera_name: head
camera_matrix: {rows: 3, cols: 3, data: [80.0, 0.0, 48.0, 0.0, 81.0, 32.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [80, 0, 48, 1, 0, 81, 32, 0, 0, 0, 1, 0]}
"""


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_each_image_has_its_camera_info(
    video: Path, narrations: Path, tmp_path: Path, storage: Any
) -> None:
    camera = tmp_path / "camera.yaml"
    camera.write_text(CAMERA)
    options = BagOptions(size=(48, 32), storage=storage, camera_info=camera)
    write_bag(video, narrations, "V", tmp_path / "bag", options)
    assert {path.suffix for path in (tmp_path / "bag").iterdir()} == {
        ".yaml",
        ".mcap" if storage == "mcap" else ".db3",
    }
    topics = read(tmp_path / "bag")
    infos = topics["/camera_info"]
    assert [m.header for _, m in infos] == [m.header for _, m in topics["/image/compressed"]]
    info = infos[0][1]
    assert (info.width, info.height, info.distortion_model) == (48, 32, "plumb_bob")
    assert info.k.tolist() == [40.0, 0, 24, 0, 40.5, 16, 0, 0, 1]
    assert info.p.tolist() == [40.0, 0, 24, 0.5, 0, 40.5, 16, 0, 0, 0, 1, 0]
    assert info.d.tolist() == [0.1, -0.2, 0, 0, 0]

    write_bag(video, narrations, "V", tmp_path / "plain", BagOptions(storage=storage))
    info = read(tmp_path / "plain")["/camera_info"][0][1]
    # What sensor_msgs/CameraInfo says of a camera that is not calibrated.
    assert (info.width, info.height, info.k[0], info.d.size) == (*SIZE, 0.0, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("image_width: 96", "image_width: 64"), "is the calibration of pictures of 64x64"),
        (("image_width: 96", "image_width: wide"), "image_width and image_height are"),
        (("48.0, 0.0, 81.0", "x, 0.0, 81.0"), "camera_matrix must have 3 times 3 numbers"),
        (("1, 0, 81, 32, 0", "1, 0, 81, 32"), "projection_matrix must have 3 times 4"),
        (("distortion_model: plumb_bob", ""), "distortion_model is None"),
        ((CAMERA, "[1, 2"), "is no YAML file"),
        ((CAMERA, "[1, 2]"), "is no calibration"),
    ],
)
def test_calibrations_that_do_not_fit_are_told(
    video: Path, narrations: Path, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    camera = tmp_path / "camera.yaml"
    camera.write_text(CAMERA.replace(*change))
    with pytest.raises(BagError, match=f"camera.yaml: {told}"):
        write_bag(video, narrations, "V", tmp_path / "bag", BagOptions(camera_info=camera))
    assert not (tmp_path / "bag").exists()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk_is_told_and_nothing_is_left(
    video: Path, narrations: Path, tmp_path: Path, storage: str
) -> None:
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from actiseg_ros.bags.epic_bag import BagError, BagOptions, write_bag\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "video, narrations, out = map(Path, sys.argv[1:4])\n"
        "try: write_bag(video, narrations, 'V', out, BagOptions(raw=True, storage=sys.argv[4]))\n"
        "except BagError as error: print(error)\n"
    )
    out = tmp_path / "bag"
    command = [sys.executable, "-c", code, str(video), str(narrations), str(out), storage]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"{out}: cannot be written"), done.stderr
    assert "free space" in done.stdout
    assert not list(tmp_path.glob("*bag*")) and not list(tmp_path.glob(".*"))


def test_progress_is_told(video: Path, narrations: Path, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    write_bag(video, narrations, "V", tmp_path / "bag", None, lambda *at: told.append(at))
    assert [done for done, _ in told] == pytest.approx(np.arange(COUNT) / RATE)
    assert {end for _, end in told} == {4.0}


def test_real_narrations_are_read(shared: Path) -> None:
    actions = read_actions(shared / "epic" / "EPIC_100_validation.csv", "P01_11")
    assert (actions[0].narration, actions[0].start, actions[0].stop) == ("take plate", 0.0, 1.89)
    assert len(actions) > 10
    assert all(action.stop > action.start and action.narration for action in actions)
