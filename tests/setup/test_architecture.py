"""The picture of imports: which room may know which. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = {"training": "training", "actiseg_ros": "actiseg_ros/actiseg_ros"}
ROS = {
    "rclpy", "actiseg_msgs", "ament_index_python", "builtin_interfaces", "diagnostic_msgs",
    "launch", "launch_ros", "lifecycle_msgs", "rcl_interfaces", "rosgraph_msgs", "sensor_msgs",
    "std_msgs", "std_srvs", "tf2_ros",
}  # fmt: skip


def sources(repository: Path, package: str) -> list[Path]:
    return sorted((repository / PACKAGES[package]).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its room"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str, package: str, repository: Path) -> str | None:
    """Room (first folder or module below the package) of a full name; None outside of it."""
    parts = name.split(".")
    if parts[0] != package:
        return None
    root = repository / PACKAGES[package]
    known = len(parts) > 1 and ((root / parts[1]).is_dir() or (root / f"{parts[1]}.py").is_file())
    return parts[1] if known else "__init__"


def arrows(repository: Path, package: str) -> dict[str, dict[str, str]]:
    """Room -> room that it imports -> the file that does."""
    root = repository / PACKAGES[package]
    found: dict[str, dict[str, str]] = {}
    for path in sources(repository, package):
        own = path.relative_to(root).parts[0].removesuffix(".py")
        for name in imported(path):
            room = room_of(name, package, repository)
            if room is not None and room != own:
                where = f"{path.relative_to(repository)} imports {name}"
                found.setdefault(own, {}).setdefault(room, where)
    return found


def circle(graph: dict[str, dict[str, str]]) -> list[str]:
    """One circle of arrows, as their files; empty if there is none."""
    done: set[str] = set()

    def walk(room: str, path: list[str]) -> list[str]:
        if room in path:
            loop = [*path[path.index(room) :], room]
            return [graph[a][b] for a, b in itertools.pairwise(loop)]
        if room in done:
            return []
        for further in graph.get(room, {}):
            found = walk(further, [*path, room])
            if found:
                return found
        done.add(room)
        return []

    for room in graph:
        found = walk(room, [])
        if found:
            return found
    return []


def test_a_circle_would_be_found() -> None:
    graph = {"a": {"b": "a-b"}, "b": {"c": "b-c", "d": "b-d"}, "c": {"b": "c-b"}, "d": {}}
    assert circle(graph) == ["b-c", "c-b"]
    assert circle({"a": {"b": "a-b", "c": "a-c"}, "b": {"c": "b-c"}}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_each_other_in_one_direction(repository: Path, package: str) -> None:
    graph = arrows(repository, package)
    assert len(graph) > 3, "the test reads nothing"
    assert circle(graph) == []


def test_only_the_room_ros_imports_ros(repository: Path) -> None:
    allowed = repository / PACKAGES["actiseg_ros"] / "ros"
    for package in PACKAGES:
        for path in sources(repository, package):
            taken = {name for name in imported(path) if name.split(".")[0] in ROS}
            assert not taken or allowed in path.parents, f"{path} imports {sorted(taken)}"
    # The rooms below do not come to ROS by way of it either.
    for room, others in arrows(repository, "actiseg_ros").items():
        assert "ros" not in others, f"{room}: {others['ros']}"


def test_the_robot_never_imports_training(repository: Path) -> None:
    for path in sources(repository, "actiseg_ros"):
        offline = ("training", "torch", "scipy")
        taken = [name for name in imported(path) if name.split(".")[0] in offline]
        assert not taken, f"{path} imports {taken}"
