"""`actiseg frames`: pictures, narrations and a manifest out of bags and videos."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from actiseg_ros.bags.epic_bag import BagOptions, write_bag
from actiseg_ros.bags.recording import open_recording
from actiseg_ros.bags.type_store import typestore
from tests.actiseg_ros.bags import bags, videos
from tests.actiseg_ros.bags.bags import START, STEP
from training.cli import main
from training.data.recordings.choice import Doubt, choose

NAN = float("nan")
DECISION = """std_msgs/Header header
bool go
string target
string state
string[] reasons
float32 p_uncertainty
float32 n_uncertainty
float32 p_limit
float32 n_limit
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status and all output of `actiseg frames`."""
    status = main(["frames", *map(str, arguments)])
    told = capsys.readouterr()
    return status, told.out + told.err


def manifest(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return found


def table(out: Path) -> list[dict[str, str]]:
    with (out / "narrations.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def scene(index: int) -> np.ndarray:
    """RGB [32, 48, 3]: colours that tell the channels apart, and which image it is."""
    rgb = np.zeros((32, 48, 3), np.uint8)
    rgb[:, :16, 0], rgb[:, 16:32, 1], rgb[:, 32:, 2] = 200, 150, 100
    rgb[-4:, : index + 1] = 255
    return rgb


def record(path: Path, count: int = 20, **topics: Any) -> Path:
    """A bag of several topics, as outside publishers would be recorded.

    Args:
        path: New folder.
        count: Messages of each topic, a step apart.
        topics: Name without the slash (two underscores are a slash) to type, `raw`, `jpeg`,
            `png`, `depth`, `text`, or a function from an index to a decision's fields.
    """
    types = bags.store()
    types.register(get_types_from_msg(DECISION, "actiseg_msgs/msg/GraspDecision"))
    kinds = {
        "raw": "sensor_msgs/msg/Image", "depth": "sensor_msgs/msg/Image",
        "jpeg": "sensor_msgs/msg/CompressedImage", "png": "sensor_msgs/msg/CompressedImage",
        "text": "std_msgs/msg/String",
    }  # fmt: skip
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        outputs = []
        for name, what in topics.items():
            topic = "/" + name.replace("__", "/")
            kind = "actiseg_msgs/msg/GraspDecision" if callable(what) else kinds[what]
            outputs.append((writer.add_connection(topic, kind, typestore=types), what))
        for index in range(count):
            time_ns = START + index * STEP
            for connection, what in outputs:
                header = bags.header(types.types, time_ns)
                message = _message(types.types, what, index, header)
                if message is not None:
                    raw = types.serialize_cdr(message, connection.msgtype)
                    writer.write(connection, time_ns + 5 * 10**6, raw)
    return path


def _message(types: Any, what: Any, index: int, header: Any) -> Any:
    if callable(what):
        fields = what(index)
        return fields and types["actiseg_msgs/msg/GraspDecision"](header=header, **fields)
    if what == "text":
        return types["std_msgs/msg/String"]("wash plate" if index < 10 else "")
    rgb = scene(index)
    if what in ("raw", "depth"):
        depth = what == "depth"
        data = np.full((32, 48), 900, np.uint16).view(np.uint8) if depth else rgb
        return types["sensor_msgs/msg/Image"](
            header=header, height=32, width=48, encoding="16UC1" if depth else "rgb8",
            is_bigendian=0, step=96 if depth else 144, data=data.reshape(-1),
        )  # fmt: skip
    data = cv2.imencode(f".{what}", rgb[..., ::-1])[1].reshape(-1)
    return types["sensor_msgs/msg/CompressedImage"](header=header, format=what, data=data)


def decision(p: float, n: float = 0.1, limit: float = 0.5) -> dict[str, Any]:
    return {
        "go": p <= limit, "target": "plate", "state": "GO" if p <= limit else "NO_GO",
        "reasons": [] if p <= limit else ["P_UNCERTAIN"], "p_uncertainty": p, "n_uncertainty": n,
        "p_limit": limit, "n_limit": limit,
    }  # fmt: skip


def test_pictures_lead_back_to_the_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = record(tmp_path / "My kitchen-1", camera__image_raw="raw", narration="text")
    out = tmp_path / "out"
    status, told = run(capsys, "--bag", bag, "--out", out, "--every", 0.5)
    assert status == 0 and f"{out}: 4 pictures, 1 narrated actions" in told
    found = manifest(out)
    assert found["source"]["bag"] == str(bag) and found["source"]["topic"] == "/camera/image_raw"
    assert [entry["frame"] for entry in found["pictures"]] == [1, 6, 11, 16]
    with open_recording(bag) as recording:
        messages = list(recording.messages(["/camera/image_raw"]))
        for entry in found["pictures"]:
            message = messages[entry["message_index"]]
            image = recording.decode(message)
            assert entry["recorded_ns"] == message.time_ns
            assert entry["stamp_ns"] == START + entry["message_index"] * STEP
            file = out / entry["file"]
            assert file.name == f"My_kitchen-1_frame_{entry['frame']:010d}.png"
            assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
            picture = cv2.imread(str(file))[..., ::-1]
            assert np.array_equal(picture, image.data.reshape(32, 48, 3))  # lossless
    (row,) = table(out)
    assert (row["narration"], row["noun"], row["noun_class"]) == ("wash plate", "plate", "2")
    assert (row["start_timestamp"], row["stop_timestamp"]) == ("00:00:00.00", "00:00:01.00")
    assert (row["start_frame"], row["stop_frame"]) == ("1", "10")


@pytest.mark.parametrize(
    ("source", "form", "suffix", "exact"),
    [
        ("jpeg", "auto", ".jpg", True), ("jpeg", "jpeg", ".jpg", True),
        ("jpeg", "png", ".png", False), ("png", "auto", ".png", False),
        ("raw", "jpeg", ".jpg", False), ("png", "jpeg", ".jpg", False),
    ],
)  # fmt: skip
def test_forms_of_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
    source: str, form: str, suffix: str, exact: bool,
) -> None:  # fmt: skip
    bag = record(tmp_path / "bag", image=source)
    out = tmp_path / "out"
    assert run(capsys, "--bag", bag, "--out", out, "--every", 1, "--format", form)[0] == 0
    files = sorted((out / "images").iterdir())
    assert [file.suffix for file in files] == [suffix] * 2
    picture = cv2.imread(str(files[0]))[..., ::-1].astype(int)
    assert np.abs(picture - scene(0)).mean() < (0.01 if source != "jpeg" != form else 6)
    if exact:
        with open_recording(bag) as recording:
            first = recording.decode(next(recording.messages()))
        assert files[0].read_bytes() == first.data.tobytes()


def test_one_of_several_cameras_must_be_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topics = {
        "left__image": "raw", "left__image__compressed": "jpeg", "right__image__compressed": "jpeg",
        "depth__image": "depth", "robot__segment__mask": "raw", "robot__segment__grasp":
        lambda index: decision(0.1),
    }  # fmt: skip
    bag = record(tmp_path / "bag", **topics)
    out = tmp_path / "out"
    status, told = run(capsys, "--bag", bag, "--out", out, "--every", 1)
    assert status == 2 and not out.exists()
    assert "images of 2 cameras; choose one with --topic: /left/image (" in told
    assert "/right/image/compressed (sensor_msgs/msg/CompressedImage, 20)" in told
    assert "mask" not in told and "depth" not in told
    for topic in ("left/image", "/right/image/compressed", "/left/image/compressed"):
        place = tmp_path / topic.replace("/", "_")
        arguments = ("--bag", bag, "--out", place, "--every", 1, "--topic", topic)
        assert run(capsys, *arguments)[0] == 0
        assert manifest(place)["source"]["topic"] == "/" + topic.lstrip("/")
    status, told = run(capsys, "--bag", bag, "--out", out, "--every", 1, "--topic", "up")
    assert status == 2 and "has no images on /up; it has /left/image" in told
    # The colour camera beside a depth image and a node's own outputs is found by itself.
    del topics["right__image__compressed"]
    bag = record(tmp_path / "one", **topics)
    assert run(capsys, "--bag", bag, "--out", out, "--every", 1)[0] == 0
    assert manifest(out)["source"]["topic"] == "/left/image"


def test_unsure_frames_are_favoured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unsure = {3: 0.45, 7: 0.9, 12: 0.2}
    bag = record(
        tmp_path / "bag",
        image="raw",
        segment__grasp=lambda index: decision(unsure.get(index, 0.1)) if index < 15 else None,
    )
    out = tmp_path / "out"
    arguments = ("--bag", bag, "--out", out, "--every", 0.5, "--favour", "uncertain")
    status, told = run(capsys, *arguments)
    assert status == 0 and "the node judged 15 of 20 images" in told
    pictures = manifest(out)["pictures"]
    # The most unsure of each half second; the first where the node said nothing.
    assert [entry["message_index"] for entry in pictures] == [3, 7, 12, 15]
    assert pictures[1]["decision"]["degree"] == pytest.approx(1.8)
    assert pictures[1]["decision"]["reasons"] == ["P_UNCERTAIN"]
    assert "decision" not in pictures[3]
    for other, reason in (
        ({"image": "raw"}, "holds no decisions"),
        ({"image": "raw", "segment__grasp": lambda index: None}, "no decision of .* belongs"),
    ):
        bag = record(tmp_path / f"b{len(other)}", **other)
        place = tmp_path / f"o{len(other)}"
        status, told = run(capsys, "--bag", bag, "--out", place, *arguments[4:])
        assert status == 2 and re.search(reason, told) and not place.exists()


degree_lists = st.lists(st.one_of(st.just(NAN), st.floats(0, 3)), min_size=1, max_size=40)


@given(degrees=degree_lists, every=st.integers(1, 12), steps=st.data())
def test_each_interval_gives_its_most_unsure_frame(
    degrees: list[float], every: int, steps: Any
) -> None:
    gaps = steps.draw(st.lists(st.integers(1, 5), min_size=len(degrees), max_size=len(degrees)))
    times = [10**9 + gap * 10**8 for gap in itertools.accumulate(gaps)]
    length = every * 10**8
    plain = choose(times, length)
    favoured = choose(times, length, degrees)
    intervals = [(time - times[0]) // length for time in times]
    assert [intervals[place] for place in plain] == sorted(set(intervals))
    assert [intervals[place] for place in favoured] == sorted(set(intervals))
    for first, best in zip(plain, favoured, strict=True):
        rest = [p for p, interval in enumerate(intervals) if interval == intervals[best]]
        assert rest[0] == first
        judged = [degrees[p] for p in rest if not math.isnan(degrees[p])]
        assert best == first if not judged else degrees[best] == max(judged)


@pytest.mark.parametrize(
    ("values", "degree"),
    [
        ((0.3, 0.2, 0.5, 0.1), 2.0), ((0.4, NAN, 0.5, 0.1), 0.8), ((0.4, 0.6, NAN, NAN), 0.6),
        ((0.4, 0.2, 0.0, 0.0), 0.4), ((NAN, NAN, 0.5, 0.5), NAN),
    ],
)  # fmt: skip
def test_degree_of_doubt(values: tuple[float, ...], degree: float) -> None:
    found = Doubt(False, "", (), *values)
    assert found.degree == pytest.approx(degree, nan_ok=True)
    assert json.loads(json.dumps(found.record(), allow_nan=False))


def test_an_interrupted_run_goes_on_and_a_finished_one_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = record(tmp_path / "bag", image="raw", narration="text")
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = ("--bag", bag, "--every", 0.3)
    assert run(capsys, *arguments, "--out", whole)[0] == 0

    from training.data.recordings import extract

    real, count = extract.write_whole, 0

    def failing(path: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(extract, "write_whole", failing)
    assert run(capsys, *arguments, "--out", out)[0] == 130
    assert not (out / "manifest.json").exists()
    kept = {file: file.stat().st_mtime_ns for file in (out / "images").iterdir()}
    assert len(kept) == 2
    monkeypatch.setattr(extract, "write_whole", real)
    assert run(capsys, *arguments, "--out", out)[0] == 0
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items())
    for file in whole.rglob("*"):
        if file.is_file():
            assert (out / file.relative_to(whole)).read_bytes() == file.read_bytes(), file
    # What was cut short or spoilt since is written anew.
    first, second, *_ = sorted(kept)
    for file, content in ((first, b""), (second, second.read_bytes()[:-40])):
        file.write_bytes(content)
    assert run(capsys, *arguments, "--out", out)[0] == 0
    for file in (first, second):
        assert file.read_bytes() == (whole / "images" / file.name).read_bytes()
    # Narrations that somebody has corrected are not replaced.
    table = out / "narrations.csv"
    original = table.read_bytes()
    table.write_bytes(original + b"\n")
    status, told = run(capsys, *arguments, "--out", out)
    assert status == 2 and "narrations.csv: was changed since it was written" in told
    assert table.read_bytes() == original + b"\n"
    written = (out / "manifest.json").read_bytes()
    (out / "manifest.json").write_text("[]")
    status, told = run(capsys, *arguments, "--out", out)
    assert status == 2 and "manifest.json: does not say which narrations were written" in told
    (out / "manifest.json").write_bytes(written)
    table.write_bytes(original)
    # Another plan does not mix with this one.
    status, told = run(capsys, *arguments, "--out", out, "--format", "jpeg")
    assert status == 2 and "holds pictures made otherwise" in told
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    status, told = run(capsys, *arguments, "--out", tmp_path / "mine")
    assert status == 2 and "does not hold pictures of a recording" in told


@pytest.mark.parametrize("length", [8, 40])
def test_messages_that_are_cut_short_are_refused_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
) -> None:
    bag, types = tmp_path / "bag", bags.store()
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {"/image/compressed": "sensor_msgs/msg/CompressedImage"}
        kinds |= {"/narration": "std_msgs/msg/String"}
        image, text = (writer.add_connection(n, k, typestore=types) for n, k in kinds.items())
        for index in range(4):
            time_ns = START + index * STEP
            message = types.types[image.msgtype](
                header=bags.header(types.types, time_ns), format="jpeg", data=bags.jpeg(index)
            )
            raw = bytes(types.serialize_cdr(message, image.msgtype))
            writer.write(image, time_ns, raw[:length] if index == 2 else raw)
            said = bytes(types.serialize_cdr(types.types[text.msgtype]("cut pepper"), text.msgtype))
            writer.write(text, time_ns + 1, said[:7] if index == 1 else said)
    arguments = ("--bag", bag, "--every", 0.1)
    status, told = run(capsys, *arguments, "--out", tmp_path / "refused")
    assert status == 2 and "/narration" in told and "Traceback" not in told
    out = tmp_path / "skipped"
    status, told = run(capsys, *arguments, "--out", out, "--on-error", "skip")
    assert status == 3 and "frame 3" in told and "/narration" in told
    assert [entry["frame"] for entry in manifest(out)["pictures"]] == [1, 2, 4]
    assert [entry["frame"] for entry in manifest(out)["skipped"]] == [3]


def test_damaged_images_are_refused_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "bag"
    types = bags.store()
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kind = "sensor_msgs/msg/CompressedImage"
        connection = writer.add_connection("/image/compressed", kind, typestore=types)
        for index in range(4):
            data = bags.jpeg(index)
            image = types.types[kind](
                header=bags.header(types.types, START + index * STEP), format="jpeg",
                data=data[: len(data) // 2] if index == 2 else data,
            )  # fmt: skip
            writer.write(connection, START + index * STEP, types.serialize_cdr(image, kind))
    out = tmp_path / "out"
    status, told = run(capsys, "--bag", bag, "--out", out, "--every", 0.1)
    assert status == 2 and "frame 3 at 0.20 s: compressed image" in told
    status, told = run(
        capsys, "--bag", bag, "--out", tmp_path / "o2", "--every", 0.1, "--on-error", "skip"
    )
    assert status == 3 and "warning: frame 3" in told
    found = manifest(tmp_path / "o2")
    assert [entry["frame"] for entry in found["pictures"]] == [1, 2, 4]
    assert [entry["frame"] for entry in found["skipped"]] == [3]
    # Damaged from the first picture on: nothing is left behind.
    status, told = run(
        capsys, "--bag", bag, "--out", tmp_path / "o3", "--every", 0.1, "--start", 0.2
    )
    assert status == 2 and not (tmp_path / "o3").exists()


def test_an_unfinished_bag_gives_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(tmp_path / "bag", image="raw", narration="text", count=400)
    (bag / "metadata.yaml").unlink()
    assert run(capsys, "--bag", bag, "--out", tmp_path / "a", "--every", 5)[0] == 0
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.8)])
    status, told = run(capsys, "--bag", bag, "--out", tmp_path / "b", "--every", 5)
    assert status == 3 and "is unfinished" in told
    assert 0 < manifest(tmp_path / "b")["frames"] < 400


def test_bags_of_this_project_give_their_actions_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = videos.write(tmp_path / "video.mp4", 90, codec="libx264")
    text = (
        "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun,object_names\n"
        "V_0,V,00:00:00.50,00:00:02.80,cut tomato,tomato,\"['tomato', 'plate']\"\n"
        'V_1,V,00:00:02.00,00:00:02.90,"take board, and go",board:cutting,[]\n'
    )
    (tmp_path / "t.csv").write_text(text)
    write_bag(video, tmp_path / "t.csv", "V", tmp_path / "bag", BagOptions(storage="sqlite3"))
    common = ("--every", 0.5, "--video-id", "V")
    assert run(capsys, "--bag", tmp_path / "bag", "--out", tmp_path / "a", *common)[0] == 0
    source = ("--video", video, "--narrations", tmp_path / "t.csv")
    assert run(capsys, *source, "--out", tmp_path / "b", *common)[0] == 0
    by_bag, by_video = table(tmp_path / "a"), table(tmp_path / "b")
    for column in by_bag[0]:
        assert [r[column] for r in by_bag] == [r[column] for r in by_video], column
    frames = [[e["frame"] for e in manifest(tmp_path / x)["pictures"]] for x in "ab"]
    assert frames[0] == frames[1] == [1, 16, 31, 46, 61, 76]


def test_turned_videos_and_pictures_are_upright(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.actiseg_ros.bags.test_epic_bag import with_exif

    (tmp_path / "t.csv").write_text(
        "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun\n"
        "V_0,V,00:00:00.50,00:00:01.00,cut tomato,tomato\n"
    )
    turned = videos.turned(videos.write(tmp_path / "v.mp4"), (0, 1), (-1, 0))
    common = ("--narrations", tmp_path / "t.csv", "--video-id", "V", "--every", 1)
    assert run(capsys, "--video", turned, "--out", tmp_path / "a", *common)[0] == 0
    folder = tmp_path / "frames"
    folder.mkdir()
    data = cv2.imencode(".jpg", videos.picture(0))[1].tobytes()
    for number in range(1, 13):
        (folder / f"frame_{number:010d}.jpg").write_bytes(with_exif(data, 6))
    arguments = ("--video", folder, "--fps", 10, "--out", tmp_path / "b")
    assert run(capsys, *arguments, *common)[0] == 0
    bag = tmp_path / "bag"
    types = bags.store()
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kind = "sensor_msgs/msg/CompressedImage"
        connection = writer.add_connection("/image/compressed", kind, typestore=types)
        image = types.types[kind](
            header=bags.header(types.types, START), format="jpeg",
            data=np.frombuffer(with_exif(data, 6), np.uint8),
        )  # fmt: skip
        writer.write(connection, START, types.serialize_cdr(image, kind))
    status, told = run(capsys, "--bag", bag, "--out", tmp_path / "c", "--every", 1)
    assert status == 0 and "note: no narration was heard" in told
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    for place in "abc":
        for file in (tmp_path / place / "images").iterdir():
            picture = cv2.imread(str(file), flags)
            assert picture.shape == (videos.WIDTH, videos.HEIGHT, 3), file
            assert picture[videos.WIDTH // 2, -4, 2] > 200  # the red bar of the top
    assert table(tmp_path / "c") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give either --bag or --video"),
        (["--bag", "b", "--video", "v"], "give either --bag or --video"),
        (["--video", "v"], "needs --narrations and --video-id"),
        (["--bag", "b", "--narrations", "n"], "belong to --video"),
        (["--bag", "none"], "there is no such bag folder or file"),
        (["--bag", "b", "--every", "0"], "--every is 0.0"),
        (["--bag", "b", "--start", "3", "--stop", "2"], "enclose nothing"),
        (["--bag", "b", "--quality", "0"], "--quality is 0"),
        (["--bag", "b", "--video-id", "a/b"], "slash"),
        (["--video", "v", "--narrations", "n", "--video-id", "V", "--favour", "uncertain"],
         "a video has none"),
        (["--video", "v", "--narrations", "n.csv", "--video-id", "V"], "n.csv: cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    every = [] if "--every" in arguments else ["--every", "1"]
    status, output = run(capsys, "--out", tmp_path / "out", *every, *arguments)
    assert status == 2 and told in output and output.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bag_without_images_lists_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(tmp_path / "bag", narration="text")
    status, told = run(capsys, "--bag", bag, "--out", tmp_path / "out", "--every", 1)
    assert status == 2 and "holds no camera images" in told
    assert "/narration (std_msgs/msg/String, 20)" in told


def test_narrations_of_another_name_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = record(tmp_path / "bag", image="raw", speech__text="text")
    status, told = run(capsys, "--bag", bag, "--out", tmp_path / "a", "--every", 1)
    assert status == 0 and "note: no narration was heard" in told
    assert "--narration-topic: /speech/text (std_msgs/msg/String, 20)" in told
    chosen = ("--narration-topic", "speech/text")
    assert run(capsys, "--bag", bag, "--out", tmp_path / "b", "--every", 1, *chosen)[0] == 0
    assert [row["narration"] for row in table(tmp_path / "b")] == ["wash plate"]


def test_narrations_outside_of_the_pictures_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    types = bags.store()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        image = writer.add_connection("/image_raw", "sensor_msgs/msg/Image", typestore=types)
        said = writer.add_connection("/narration", "std_msgs/msg/String", typestore=types)
        texts = {
            0.0: "cut before",
            1.0: "",
            30.2: "カップ, red を取る",
            31.0: "",
            80.0: "wash late",
        }
        pictures = {30 + index / 10: index for index in range(20)}
        for time in sorted([*texts, *pictures]):
            time_ns = START + round(time * 1e9)
            if time in texts:
                message = types.types["std_msgs/msg/String"](texts[time])
                writer.write(said, time_ns, types.serialize_cdr(message, said.msgtype))
            else:
                header = bags.header(types.types, time_ns)
                message = _message(types.types, "raw", pictures[time], header)
                writer.write(image, time_ns, types.serialize_cdr(message, image.msgtype))
        late = types.types["std_msgs/msg/String"]("")
        writer.write(said, START + 82 * 10**9, types.serialize_cdr(late, said.msgtype))
    status, told = run(capsys, "--bag", tmp_path / "bag", "--out", tmp_path / "out", "--every", 0.5)
    assert status == 3
    assert "2 of 3 actions are no part of the pictures' time, second 30.00 to 31.90" in told
    assert "'cut before', 'wash late'" in told
    assert [row["narration"] for row in table(tmp_path / "out")] == ["カップ, red を取る"]


def test_the_newest_definition_of_a_decision_is_understood() -> None:
    fields = typestore().fielddefs["actiseg_msgs/msg/GraspDecision"][1]
    names = {field[0] for field in fields}
    assert {"header", "go", "target", "reasons", "p_uncertainty", "n_limit"} <= names
