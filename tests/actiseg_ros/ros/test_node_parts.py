"""The ROS-free parts of the nodes: worker, problems, arrivals, parameters."""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from actiseg_ros.gate.events import Frame, Source, Time
from actiseg_ros.prompts import MAX_OBJECTS
from actiseg_ros.ros.active_points import DepthBuffer
from actiseg_ros.ros.arguments import means_node, number_argument, untaken_arguments
from actiseg_ros.ros.diagnostics.arrivals import ArrivalMonitor, PublisherTracker
from actiseg_ros.ros.diagnostics.pace import explain_pace
from actiseg_ros.ros.diagnostics.problems import Level, Problem, Problems
from actiseg_ros.ros.diagnostics.silence import Publisher, explain_silence, foreign_memory
from actiseg_ros.ros.messages import header_of, to_nanoseconds
from actiseg_ros.ros.parameters import BY_NAME, SPECS, change_problem
from actiseg_ros.ros.worker import LatestWorker

IMAGE, TEXT = "sensor_msgs/msg/Image", "std_msgs/msg/String"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_launch_arguments_that_nobody_declared_are_named() -> None:
    given = ["image_topic:=/camera", "imge_topic:=/x", "zzz:=", "imge_topic:=/y"]
    known = ["image_topic", "bundle", "image_topic"]
    for command in (["ros2", "launch", "p", "a.launch.py"], ["ros2", "launch", "/s/a.launch.py"]):
        first, second = untaken_arguments(given, command, "a.launch.py", known)
        assert "`imge_topic`" in first and "(did you mean image_topic?)" in first
        assert "`zzz`" in second and "did you mean" not in second
    # Of a launch file that includes this one nothing is known.
    assert not untaken_arguments(given, ["ros2", "launch", "robot.launch.py"], "a.launch.py", known)


def test_a_launch_argument_that_is_no_number_is_named() -> None:
    assert number_argument("rate", "0.5") == 0.5
    with pytest.raises(RuntimeError, match=r"^rate:=abc is no number$"):
        number_argument("rate", "abc")


def test_a_busy_worker_takes_the_newest_item_and_counts_the_others() -> None:
    taken: list[int] = []
    entered, leave = threading.Event(), threading.Event()

    def work(item: int) -> None:
        taken.append(item)
        entered.set()
        leave.wait(10)

    worker = LatestWorker(work, on_error=lambda error: None)
    worker.submit(0)
    assert entered.wait(10)
    for item in range(1, 100):
        worker.submit(item)
    leave.set()
    deadline = time.monotonic() + 10
    while len(taken) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert worker.stop()
    assert taken == [0, 99] and worker.dropped == 98


def test_a_worker_survives_what_it_is_given() -> None:
    errors: list[Exception] = []
    done = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            raise ZeroDivisionError("bad item")
        done.set()

    worker = LatestWorker(work, errors.append)
    worker.submit(0)
    while not errors:
        time.sleep(0.001)
    worker.submit(1)
    assert done.wait(10) and worker.stop()
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_a_hanging_worker_does_not_hang_its_owner() -> None:
    leave = threading.Event()
    entered = threading.Event()

    def work(item: int) -> None:
        entered.set()
        leave.wait(30)

    worker = LatestWorker(work, on_error=lambda error: None)
    worker.submit(0)
    assert entered.wait(10)
    assert not worker.stop(timeout=0.05)
    leave.set()
    assert worker.stop()


def test_problems_are_seen_for_a_while_and_logged_now_and_then() -> None:
    clock = Clock()
    problems = Problems(keep=5.0, repeat=5.0, clock=clock)
    bad = Problem("image", Level.ERROR, "cut short")
    assert problems.report(bad)
    assert not problems.report(bad)
    assert problems.report(Problem("image", Level.WARN, "gaps"), "other kind")
    assert [problem.level for problem in problems.of("image")] == [Level.ERROR, Level.WARN]
    assert problems.of("model") == []
    clock.now += 4.9
    assert not problems.report(bad)
    clock.now += 0.2
    assert problems.report(bad)
    assert problems.of("image") == [bad]
    problems.clear("image")
    assert problems.of("image") == []


def test_every_cause_gets_its_line_and_a_flood_of_them_does_not() -> None:
    clock = Clock()
    problems = Problems(repeat=5.0, clock=clock)

    def report(text: str) -> bool:
        return problems.report(Problem("image", Level.ERROR, text), "decode")

    assert report("unknown encoding")
    assert report("image of 10 bytes is cut short")
    assert not report("image of 11 bytes is cut short"), "the same but for a number"
    assert problems.of("image")[0].text.startswith("image of 11"), "the newest is shown"
    logged = sum(report(f"encoding {'x' * count}") for count in range(100))
    assert 1 < logged < 10
    clock.now += 5.1
    assert report("unknown encoding")


def test_a_problem_that_is_only_noted_does_not_silence_the_log() -> None:
    problems = Problems(clock=Clock())
    bad = Problem("model", Level.ERROR, "cannot configure")
    problems.note(bad)
    assert problems.of("model") == [bad]
    assert problems.report(bad)


def test_arrivals_are_counted_and_a_slower_camera_loses_nothing() -> None:
    clock = Clock()
    monitor, tracker = ArrivalMonitor(clock=clock), PublisherTracker()
    assert monitor.report().silence == float("inf")
    number = 0
    for index in range(40):
        clock.now += 0.1 if index < 20 else 0.5
        number += 3 if index in (5, 30) else 1
        monitor.arrived(tracker.identify(None, number, 1)[1])
    report = monitor.report()
    assert (report.count, report.lost, report.silence) == (40, 4, 0.0)
    assert report.interval == pytest.approx(0.5) and 2.9 < report.rate < 3.5


@given(st.lists(st.integers(0, 1), min_size=2, max_size=40), st.integers(1, 50), st.integers(1, 50))
def test_two_publishers_are_told_apart_by_their_numbers(
    turns: list[int], first: int, second: int
) -> None:
    """Whenever the other publisher speaks again, the name has changed since it spoke last."""
    numbers, tracker = [first, second], PublisherTracker()
    names: list[str] = []
    for turn in turns:
        numbers[turn] += 1
        names.append(tracker.identify(None, numbers[turn], 2)[0])
    for place in range(2, len(turns)):
        if turns[place] == turns[place - 2] != turns[place - 1]:
            # a b a: the three cannot all have one name.
            assert len(set(names[place - 2 : place + 1])) > 1


def test_a_restarted_or_new_publisher_is_another_one() -> None:
    tracker = PublisherTracker()
    names = [tracker.identify(None, number, 1)[0] for number in (7, 8, 10, 1, 2)]
    assert names[0] == names[1] == names[2] != names[3] == names[4]
    joined = tracker.identify(None, 3, 2)[0]
    assert joined != names[4]
    assert tracker.identify(None, 4, 2)[0] == joined, "the other one is silent"
    assert [tracker.identify(gid, None, 2)[0] for gid in ("a", "b", "a")] == ["a", "b", "a"]


def test_what_belongs_to_an_image_that_nobody_stamped_has_one_stamp() -> None:
    now = Time(7_000_000_009, 3.0)
    stamped = Frame(5, 5, 0, Source("a", "camera"), now)
    assert to_nanoseconds(header_of(stamped).stamp) == 5
    unstamped = Frame(0, now.ros_ns, 0, Source("a", "camera"), now)  # `stamp_source` is arrival
    assert to_nanoseconds(header_of(unstamped).stamp) == now.ros_ns
    assert to_nanoseconds(header_of(None).stamp) == 0


def test_a_camera_that_hands_over_is_another_one() -> None:
    """One leaves before the other speaks: at no message are there two."""

    def changes(*messages: tuple[int, int, int]) -> list[bool]:
        """Of number, publishers matched and joined: whether a message may be of another one."""
        tracker = PublisherTracker()
        names = [tracker.identify(None, *message)[0] for message in messages]
        return [late != early for early, late in itertools.pairwise(names)]

    left = changes((499, 2, 2), (500, 2, 2), (10000, 1, 2), (10001, 1, 2))
    assert left == [False, True, False]
    # It leaves and another one comes between two messages, whose numbers fit by chance.
    assert changes((7, 1, 1), (8, 1, 1), (9, 1, 2), (10, 1, 2)) == [False, True, False]
    # Who joined is told once, however early or late, and the first one is no other.
    assert changes((1, 1, 0), (2, 2, 1), (3, 2, 2)) == [True, False]
    assert changes((1, 1, 0), (2, 1, 1), (3, 1, 1)) == [False, False]


def test_publishers_that_nothing_tells_apart_are_never_one() -> None:
    """As with a middleware that gives neither identities nor numbers."""
    tracker = PublisherTracker()
    alone = [tracker.identify(None, None, 1)[0] for _ in range(3)]
    both = [tracker.identify(None, None, 2)[0] for _ in range(4)]
    assert len(set(alone)) == 1 and len({*alone, *both}) == 5
    assert len({tracker.identify(None, None, 1)[0] for _ in range(3)}) == 1


def test_of_depth_pictures_with_one_stamp_the_newest_counts() -> None:
    buffer = DepthBuffer()
    for number in range(40):
        buffer.add(Image(width=number), 1.0)  # nobody stamps them
    assert buffer.of(0, 0.02, 0.5).width == 39


@pytest.mark.parametrize(
    ("section", "name", "meant"),
    [("/**", "/robot1/segment", True), ("segment", "/segment", True),
     ("/*/segment", "/robot1/segment", True), ("/other", "/segment", False),
     ("segment", "/robot1/segment", False)],
)  # fmt: skip
def test_sections_of_a_parameter_file_mean_nodes(section: str, name: str, meant: bool) -> None:
    assert means_node(section, name) is meant


def test_a_pace_that_allows_no_go_is_told_with_both_numbers() -> None:
    slow = explain_pace([1.2] * 5, 0.1, 0.0, 0.5)
    assert slow is not None and "takes 1.2 s, but `image_timeout` is 0.5 s" in slow.text
    rare = explain_pace([0.01] * 5, 1.0, 0.2, 0.5)
    assert rare is not None and "every 1 s, but `image_timeout` is 0.5 s" in rare.text
    both = explain_pace([0.3] * 5, 0.3, 0.0, 0.5)
    assert both is not None and "takes 0.3 s and images come every 0.3 s" in both.text
    assert explain_pace([0.1] * 5, 0.1, 0.0, 0.5) is None
    assert explain_pace([], 0.1, 0.0, 0.5) is None
    assert explain_pace([0.01] * 5, 1.0, 60.0, 0.5) is None, "a camera that has stopped"


def explain(publishers: list[Publisher], graph: dict[str, list[str]] | None = None) -> Problem:
    return explain_silence("image", "/image", IMAGE, publishers, graph or {}, 3.0, "do this")


def test_silence_is_explained() -> None:
    problem = explain([], {"/camera/image": [IMAGE], "/image": [IMAGE], "/other": ["a/msg/B"]})
    assert "/camera/image" in problem.text and "/other" not in problem.text
    assert "exist: none" in explain([]).text
    problem = explain([Publisher("talker", "std_msgs/msg/String")])
    assert problem.level is Level.ERROR and "std_msgs/msg/String by talker" in problem.text
    problem = explain([Publisher("camera", IMAGE, "best effort, not reliable")])
    assert problem.level is Level.ERROR and "do this" in problem.text
    assert "although camera publishes" in explain([Publisher("camera", IMAGE)]).text
    assert "transient_local" not in explain([Publisher("camera", IMAGE, latched=True)]).text
    latched = [Publisher("narrator", TEXT, latched=True)]
    text = explain_silence("narration", "/narration", TEXT, latched, {}, 3.0, "").text
    assert "transient_local" in text and "`qos_overrides./narration.subscription.dur" in text


@pytest.mark.parametrize("distribution", ["jazzy", "kilted"])
def test_the_way_around_memory_of_another_user_can_be_taken_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, distribution: str
) -> None:
    monkeypatch.setenv("ROS_DISTRO", distribution)
    eye = [Publisher("eye", IMAGE)]
    text = explain_silence("image", "/image", IMAGE, eye, {}, 4.0, "", "bob").text
    (name, path), *others = re.findall(r"(\w+)=(/\S+)", text)
    assert not others and "user bob" in text and Path(path).is_file()
    product = "FASTRTPS" if distribution == "jazzy" else "FASTDDS"
    assert name == f"{product}_DEFAULT_PROFILES_FILE"


def test_memory_of_another_user_is_named(tmp_path: Path) -> None:
    assert foreign_memory(tmp_path) == foreign_memory(tmp_path / "nowhere") == ""
    file = tmp_path / "fastrtps_port7411"
    file.write_bytes(b"")
    assert foreign_memory(tmp_path) == ""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    for owner, name in ((65534, "nobody"), (54321, "54321")):
        os.chown(file, owner, owner)
        assert foreign_memory(tmp_path) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hold_frames", 0),
        ("hold_frames", 2.0),
        ("hold_frames", True),
        ("max_objects", MAX_OBJECTS + 1),
        ("image_timeout", float("nan")),
        ("image_timeout", float("inf")),
        ("image_timeout", "1"),
        ("image_transport", "theora"),
        ("require_certificate", 1),
        ("max_risk", 0.0),
        ("min_confidence", 1.0),
        ("provider", "tpu"),
        ("bundle", 3),
    ],
)
def test_impossible_values(name: str, value: object) -> None:
    assert name in str(change_problem(name, value, active=False))


def test_defaults_are_possible_and_only_live_ones_may_change_while_active() -> None:
    for spec in SPECS:
        assert spec.problem(spec.default) is None
        assert (change_problem(spec.name, spec.default, active=True) is None) == spec.live
    assert BY_NAME["image_timeout"].problem(1) is None
    assert change_problem("use_sim_time", True, active=True) is None
