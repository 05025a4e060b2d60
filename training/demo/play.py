"""Plays a bag to the node in real processes over DDS and records every output."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from actiseg_ros.errors import ActisegError
from training.files.progress import Progress

_START = 60.0
"""Seconds that the node may take to load its model and be discovered."""
_LINGER = 1.5
"""Seconds after the last message, in which the end of the last image becomes stale."""


def play_through_node(
    bag: Path,
    out: Path,
    log: Path,
    *,
    bundle: Path | None,
    duration: float,
    parameters: Mapping[str, str] | None = None,
) -> None:
    """Runs `segment_node` and `replay_node`, and records the outputs.

    Args:
        bag: Bag with compressed images and narrations.
        out: Folder of the new bag with the outputs.
        log: File for what both nodes print.
        bundle: Model bundle; None is the embedded one.
        duration: Seconds that the bag takes, for the progress bar.
        parameters: Further parameters of `segment_node`.

    Raises:
        ActisegError: ROS 2 is not there, or a node ended or never became active.
    """
    try:
        import domain_coordinator
    except ImportError as error:
        raise ActisegError(
            f"ROS 2 is not ready in this shell ({error}); run `make setup` and `source env.bash`"
        ) from error
    with domain_coordinator.domain_id() as domain:
        os.environ["ROS_DOMAIN_ID"] = str(domain)
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        options = {"use_sim_time": "true", "image_transport": "compressed", **(parameters or {})}
        if bundle is not None:
            options["bundle"] = str(bundle.resolve())
        recorded = {"use_sim_time": "true", "bag": str(out)}
        with _node("record_node", log, recorded) as record:
            _wait(out.exists, record, log, "record_node did not start")
            with _node("segment_node", log, options) as segment:
                _wait_until_active(segment, log)
                replayed = {"bag": str(bag), "clock": "true", "wait_for_subscribers": "30.0"}
                with _node("replay_node", log, replayed) as replay:
                    _follow(replay, segment, duration, log)
                time.sleep(_LINGER)


def _executable(name: str) -> Path:
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        path = Path(prefix) / "lib" / "actiseg_ros" / name
        if path.is_file():
            return path
    found = shutil.which(name)
    if found is None:
        raise ActisegError(f"{name} was not found; run `make setup` and `source env.bash`")
    return Path(found)


@contextmanager
def _node(name: str, log: Path, parameters: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    flags = [part for item in parameters.items() for part in ("-p", ":=".join(item))]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(_executable(name)), "--ros-args", *flags], stdout=stream, stderr=stream
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_active(segment: subprocess.Popen[bytes], log: Path) -> None:
    def active() -> bool:
        told = log.read_text(errors="replace")
        if "cannot configure" in told or "cannot activate" in told:
            raise ActisegError(f"segment_node did not become active:\n{_tail(log)}")
        return "active: listening" in told

    _wait(active, segment, log, "segment_node did not become active")


def _wait(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, otherwise: str
) -> None:
    deadline = time.monotonic() + _START
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ActisegError(f"{otherwise}; its log says:\n{_tail(log)}")
        time.sleep(0.05)


def _follow(
    replay: subprocess.Popen[bytes],
    segment: subprocess.Popen[bytes],
    duration: float,
    log: Path,
) -> None:
    """Shows progress until the replay ends."""
    began = time.monotonic()
    total = round(duration)
    with Progress("play", "seconds", total) as bar:
        while replay.poll() is None:
            if segment.poll() is not None:
                raise ActisegError(f"segment_node ended during the replay:\n{_tail(log)}")
            if time.monotonic() - began > 3 * duration + _START:
                raise ActisegError(f"the replay does not end:\n{_tail(log)}")
            time.sleep(0.2)
            bar.reach(min(round(time.monotonic() - began), total))
    if replay.returncode:
        raise ActisegError(f"replay_node failed:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
