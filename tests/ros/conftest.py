"""One isolated DDS domain for all tests here, and nodes that several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed here")
pytest.importorskip(
    "actiseg_msgs.msg", reason="the workspace is not sourced: run `source env.bash` first"
)

import domain_coordinator
import rclpy
from rclpy.signals import SignalHandlerOptions

from tests.actiseg_ros.dummy_bundle import write_dummy_bundle

LIMITS = {"active_score": 0.5, "p_uncertainty": 0.5, "n_uncertainty": 0.5, "distance": 1e6}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ros)


@pytest.fixture(scope="session", autouse=True)
def shared_memory() -> Iterator[None]:
    """Takes away what killed nodes leave in shared memory: 35 MB each, which fill a machine."""
    before = _segments()
    yield
    used = _used_segments()
    for name in _segments() - before - used:
        (_SHARED / name).unlink(missing_ok=True)


_SHARED = Path("/dev/shm")


def _segments() -> set[str]:
    return {path.name for path in _SHARED.glob("*fastrtps_*")}


def _used_segments() -> set[str]:
    """Those that a process has open or mapped; other programs' nodes may run beside the tests."""
    used = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended, or is another user's
            for line in (process / "maps").read_text().splitlines():
                used.add(Path(line.rpartition(" ")[2]).name)
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    used.add(descriptor.readlink().name)
    return used


@pytest.fixture(scope="session", autouse=True)
def domain(shared_memory: None) -> Iterator[int]:
    """Reserves a free domain, so that no other test, node or robot is heard."""
    with domain_coordinator.domain_id() as number:
        os.environ["ROS_DOMAIN_ID"] = str(number)
        # pytest keeps its own handlers: a signal ends the tests, not the context under them.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        yield number
        rclpy.try_shutdown()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle that segments by colour."""
    return write_dummy_bundle(tmp_path_factory.mktemp("bundle"), limits=LIMITS)
