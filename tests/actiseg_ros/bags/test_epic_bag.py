"""EPIC-KITCHENS videos and narrations as rosbag2, read back by an independent reader."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from actiseg_ros.bags.epic_actions import Action, NarrationError, narration_events, read_actions
from actiseg_ros.bags.epic_bag import FRAME_ID, BagError, BagOptions, write_bag

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
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in (1, 31, 61):
        cv2.imwrite(str(frames / f"frame_{number:010d}.jpg"), np.full((8, 8, 3), number, np.uint8))
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
    refused("frame rate", video=empty)
    refused("no frame", video=empty, options=BagOptions(fps=30))
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
    refused("frame_0000000001.jpg", video=empty, options=BagOptions(fps=30))

    out.mkdir()
    with pytest.raises(BagError, match="exists"):
        write_bag(video, narrations, "V", out)


@pytest.mark.parametrize(
    "wrong",
    [{"start": -1.0}, {"start": 2.0, "stop": 1.0}, {"fps": 0.0}, {"size": (0, 4)}, {"quality": 0}],
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
    actions = [Action(str(i), f"do {i}", start, stop, "") for i, (start, stop) in enumerate(spans)]
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


def test_real_narrations_are_read(shared: Path) -> None:
    actions = read_actions(shared / "epic" / "EPIC_100_validation.csv", "P01_11")
    assert (actions[0].narration, actions[0].start, actions[0].stop) == ("take plate", 0.0, 1.89)
    assert len(actions) > 10
    assert all(action.stop > action.start and action.narration for action in actions)
