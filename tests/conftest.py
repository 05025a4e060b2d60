"""Fixtures and process-wide settings of all tests."""

import gc
import os
import signal
import tempfile
from pathlib import Path

# Read when a message module is imported, so it must be set before any test imports one: without it
# a wrong scalar type is published as a wrong value instead of failing.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_LOG_DIR", tempfile.mkdtemp(prefix="actiseg-ros-log-"))
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run in parallel instead of their matrix products
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

# An example's time says nothing on a machine that others load too.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

# A shell starts what runs in its background with these ignored, and children inherit that.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference material that lies beside the repository (real frames, reference vectors)."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        pytest.skip("needs the folder `shared` beside the repository, which is not there")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with the longest tests first, then those with most tests.

    Files are dealt out to processes in this order, and none should be at a long one alone at the
    end.
    """
    limits: dict[Path, list[float]] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        limits.setdefault(item.path, []).append(marker.args[0] if marker else 0.0)
    items.sort(key=lambda item: (-max(limits[item.path]), -len(limits[item.path])))


def pytest_collection_finish() -> None:
    """Keeps collected tests out of garbage collections: listeners take pauses for silence."""
    gc.freeze()
