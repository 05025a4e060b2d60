"""Playing a bag: pace, clock, stamps and what there is to play."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.playback import TICK_NS, Playback, Restamper, play, stamp_of, with_stamp
from actiseg_ros.bags.recording import Recorded, Topic, open_recording
from tests.actiseg_ros.bags import bags
from tests.actiseg_ros.bags.bags import START, STEP

TOPIC = Topic("/narration", "std_msgs/msg/String", 1)


def recorded(*times_ns: int) -> list[Recorded]:
    return [Recorded(TOPIC, time_ns, b"") for time_ns in times_ns]


def test_messages_come_in_their_time_and_the_clock_never_goes_back() -> None:
    ticks: list[int] = []
    sent: list[tuple[float, int]] = []
    began = time.monotonic()
    times = [START, START + STEP, START + STEP // 2, START + 3 * STEP]
    count = play(
        iter(recorded(*times)),
        lambda message: sent.append((time.monotonic() - began, message.time_ns)),
        ticks.append,
        2.0,
        threading.Event(),
    )
    assert count == 4 and [time_ns for _, time_ns in sent] == times
    assert sent[-1][0] >= 3 * STEP / 1e9 / 2 - 0.01
    assert ticks == sorted(ticks) and ticks[0] == START and ticks[-1] == times[-1]
    assert max(b - a for a, b in pairwise(ticks)) <= TICK_NS


def test_a_replay_stops_at_once() -> None:
    stopping = threading.Event()
    threading.Timer(0.2, stopping.set).start()
    began = time.monotonic()
    messages = iter(recorded(START, START + 3600 * 10**9))
    assert play(messages, lambda _: None, lambda _: None, 1.0, stopping) == 1
    assert time.monotonic() - began < 5


def test_topics_and_offset_choose_what_is_played(tmp_path: Path) -> None:
    path = bags.write(tmp_path / "bag")
    with open_recording(path) as recording:
        both = Playback(recording, ["", "/"], 0.75)
        assert [message.time_ns for message in both.messages()][::2] == [
            START + 8 * STEP, START + 9 * STEP
        ]  # fmt: skip
        said = Playback(recording, ["narration"], 0.0)
        assert {message.topic.name for message in said.messages()} == {"/narration"}
        said.check()
        with pytest.raises(BagError, match=r"names /camera/depth, .* it holds /camera/image/compr"):
            Playback(recording, ["camera/depth", "narration"], 0.0)
        with pytest.raises(BagError, match=r"nothing to play of .* from second 0.95 on .* 0.9 s"):
            Playback(recording, [], 0.95).check()
        said.leave_out(["/narration"])
        with pytest.raises(BagError, match="nothing to play of no topic"):
            said.check()
        for offset in (-1.0, float("nan"), float("inf")):
            with pytest.raises(BagError, match="start_offset"):
                Playback(recording, [], offset)


@given(
    stamps=st.lists(st.integers(-(10**8), 10 * 10**9), min_size=2, max_size=6),
    rate=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_stamps_keep_their_order_and_their_age(stamps: list[int], rate: float) -> None:
    began = 2 * 10**18
    restamper = Restamper(START, began, rate)
    moved = [restamper.moved(START + stamp, START + 10**10) for stamp in stamps]
    for (one, other), (a, b) in zip(pairwise(stamps), pairwise(moved), strict=True):
        assert b - a == pytest.approx((other - one) / rate, abs=2000)


def test_stamps_of_another_clock_are_moved_alike() -> None:
    restamper = Restamper(START, 2 * 10**18, 1.0)
    # A camera that counts from its start; image and camera info have one stamp, but are recorded
    # a moment apart.
    uptime = 5 * 10**9
    first = restamper.moved(uptime, START)
    assert first == 2 * 10**18
    assert restamper.moved(uptime, START + 10**6) == first
    assert restamper.moved(uptime + STEP, START + STEP + 10**6) == first + STEP
    # Not set: the time of the recording.
    assert restamper.moved(0, START + STEP) == 2 * 10**18 + STEP
    # As old as it was.
    assert restamper.moved(START - 600 * 10**9, START) == 2 * 10**18 - 600 * 10**9


@given(stamp=st.integers(0, 2**31 * 10**9 - 1), rest=st.binary(max_size=9), big=st.booleans())
def test_only_the_stamp_of_a_message_changes(stamp: int, rest: bytes, big: bool) -> None:
    raw = bytes([0, 0 if big else 1, 0, 0]) + bytes(8) + rest
    changed = with_stamp(raw, stamp)
    assert stamp_of(changed) == stamp
    assert (changed[:4], changed[12:]) == (raw[:4], raw[12:])
