"""One tree, three installations: editable, `pip install .`, colcon."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.builders.wheel import WheelBuilder

# Everything that a shell of a CI machine has and nothing that points at this repository.
PLAIN_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}
}


def run_python(code: str, folder: Path, environment: dict[str, str]) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_both_packages_are_found_from_any_folder(repository: Path, tmp_path: Path) -> None:
    # In the root the folder actiseg_ros/ (the colcon package) must not hide the import package.
    code = "import actiseg_ros, training; print(actiseg_ros.__file__, training.__file__)"
    for folder in (repository, repository / "actiseg_ros", tmp_path):
        found = [
            Path(part).resolve() for part in run_python(code, folder, PLAIN_ENVIRONMENT).split()
        ]
        assert found == [
            repository / "actiseg_ros" / "actiseg_ros" / "__init__.py",
            repository / "training" / "__init__.py",
        ]


def test_the_robot_half_runs_without_torch_and_training(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("actiseg_msgs.msg", reason="run `source env.bash` first")
    package = repository / "actiseg_ros" / "actiseg_ros"
    modules = (path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py"))
    core = sorted(".".join(path.parts) for path in modules if "ros" not in path.parts)
    imports = "".join(f"import {name.removesuffix('.__init__')}\n" for name in core)
    code = imports + "import sys\nprint(*{'torch', 'training', 'rclpy'} & set(sys.modules))"
    assert run_python(code, tmp_path, dict(os.environ)) == ""


def test_no_module_of_the_robot_half_imports_torch_anywhere(repository: Path) -> None:
    for path in (repository / "actiseg_ros" / "actiseg_ros").rglob("*.py"):
        found = re.search(r"^\s*(import|from) (torch|training)\b", path.read_text(), re.MULTILINE)
        assert found is None, f"{path.name}: {found.group(0) if found else ''}"


def test_installed_packages_agree_with_each_other() -> None:
    # An unpinned ROS package brings another distribution's messages: it installs, and only this
    # check tells.
    result = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout


def test_wheel_holds_both_packages_the_bundles_and_the_messages(
    repository: Path, tmp_path: Path
) -> None:
    wheel = next(WheelBuilder(str(repository)).build(directory=str(tmp_path)))
    names = set(ZipFile(wheel).namelist())
    assert {"training/cli.py", "actiseg_ros/vision/segmenter.py"} <= names
    assert "actiseg_ros/msg/GraspDecision.msg" in names
    bundles = repository / "actiseg_ros"
    embedded = {path.relative_to(bundles) for path in bundles.glob("bundles/*/*") if path.is_file()}
    assert {f"actiseg_ros/{path.as_posix()}" for path in embedded} <= names
    assert not any(name.startswith(("tests/", "ros2_ws/")) for name in names)


@pytest.mark.parametrize("package", ["actiseg_ros", "ros2_ws/src/actiseg_msgs"])
def test_ros_packages_have_the_project_version(repository: Path, package: str) -> None:
    project = (repository / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"', project, re.MULTILINE)
    manifest = ElementTree.parse(repository / package / "package.xml").getroot()
    assert version is not None
    assert manifest.findtext("version") == version.group(1)
    assert manifest.findtext("license") == "Apache-2.0"


def test_node_dependencies_are_declared_for_rosdep(repository: Path) -> None:
    manifest = ElementTree.parse(repository / "actiseg_ros" / "package.xml").getroot()
    declared = {element.text for element in manifest.findall("exec_depend")}
    imports = re.compile(
        r"^\s*(?:from|import) (\w+_(?:msgs|interfaces|srvs)|rclpy)\b", re.MULTILINE
    )
    sources = (repository / "actiseg_ros" / "actiseg_ros").rglob("*.py")
    used = {name for path in sources for name in imports.findall(path.read_text())}
    assert used
    assert used <= declared
