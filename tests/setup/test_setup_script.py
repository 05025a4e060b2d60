"""`make setup` and `env.bash`, run as users run them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# What the script itself calls; everything else is taken away to see what it says.
BASIC_TOOLS = ("bash", "dirname", "uname", "sed", "cat", "sha256sum", "cut", "sort", "find")


def run_setup(repository: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(repository / "scripts" / "setup.sh")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with the basic tools and no compiler."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in BASIC_TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    return folder


def fake_python(folder: Path, version: str) -> Path:
    path = folder / "python-fake"
    path.write_text(f"#!/bin/bash\necho {version}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["3.9", "3.14"])
def test_wrong_python_is_named_with_the_supported_ones(
    repository: Path, tmp_path: Path, version: str
) -> None:
    result = run_setup(repository, PYTHON=str(fake_python(tmp_path, version)))
    assert result.returncode != 0
    assert f"is Python {version}" in result.stderr
    assert "3.10 to 3.13" in result.stderr


def test_python_that_does_not_run_is_named(repository: Path) -> None:
    result = run_setup(repository, PYTHON="python-of-nowhere")
    assert result.returncode != 0
    assert "python-of-nowhere" in result.stderr


def test_missing_build_tools_come_with_the_command_that_installs_them(
    repository: Path, bare_path: Path
) -> None:
    result = run_setup(repository, PATH=str(bare_path))
    assert result.returncode != 0
    assert "a C++ compiler" in result.stderr
    assert "cmake" in result.stderr
    assert "sudo apt-get install g++ cmake make" in result.stderr


@pytest.mark.parametrize("options", ["-c", "-uc", "-euc"])
def test_shell_is_prepared_from_any_folder_and_twice(
    repository: Path, tmp_path: Path, options: str
) -> None:
    if not (repository / "ros2_ws" / "install").is_dir():
        pytest.skip("ros2_ws is not built: run `make setup`")
    script = (
        f"source '{repository}/env.bash'; first=$AMENT_PREFIX_PATH:$PYTHONPATH\n"
        f"source '{repository}/env.bash'; second=$AMENT_PREFIX_PATH:$PYTHONPATH\n"
        '[ "$first" = "$second" ] || echo "changed: $first -> $second"\n'
        'echo "${FASTRTPS_DEFAULT_PROFILES_FILE:-}${FASTDDS_DEFAULT_PROFILES_FILE:-}"\n'
        'python -c "from actiseg_msgs.msg import GraspDecision; import rclpy, training"'
    )
    keep = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run(
        ["bash", options, script],
        cwd=tmp_path,
        env=keep,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    profile = str(repository / "actiseg_ros" / "config" / "fastdds.xml")
    assert result.stdout.split() == [profile]


@pytest.mark.parametrize("name", ["FASTDDS", "FASTRTPS"])
def test_own_profile_of_the_user_is_kept(repository: Path, tmp_path: Path, name: str) -> None:
    if not (repository / "ros2_ws" / "install").is_dir():
        pytest.skip("ros2_ws is not built: run `make setup`")
    script = (
        f"source '{repository}/env.bash'; "
        "echo $FASTDDS_DEFAULT_PROFILES_FILE $FASTRTPS_DEFAULT_PROFILES_FILE"
    )
    environment = {"PATH": "/usr/bin:/bin", f"{name}_DEFAULT_PROFILES_FILE": "mine.xml"}
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stdout.strip() == "mine.xml"


@pytest.mark.parametrize("options", ["-c", "-uc"])
def test_beside_an_ordinary_ros_installation_its_own_packages_are_found(
    repository: Path, tmp_path: Path, options: str
) -> None:
    shutil.copy(repository / "env.bash", tmp_path)
    overlay = tmp_path / "ros2_ws" / "install" / "local_setup.bash"
    overlay.parent.mkdir(parents=True)
    overlay.write_text("export OVERLAY=there\n")
    packages = tmp_path / ".venv-ros" / "lib" / "python3.12" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / ".venv-ros" / "bin").mkdir()
    script = 'source ./env.bash; source ./env.bash; echo "$OVERLAY $PYTHONPATH $PATH"'
    environment = {"PATH": "/usr/bin:/bin", "ROS_DISTRO": "jazzy", "PYTHONPATH": "/opt/ros/jazzy/x"}
    result = subprocess.run(
        ["bash", options, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    path = f"/usr/bin:/bin:{tmp_path}/.venv-ros/bin"
    assert result.stdout.split() == ["there", f"{packages}:/opt/ros/jazzy/x", path], result.stderr
    shutil.rmtree(tmp_path / ".venv-ros")
    result = subprocess.run(
        ["bash", options, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stdout.split() == ["there", "/opt/ros/jazzy/x", "/usr/bin:/bin"]


def test_shell_without_set_up_is_told_what_to_do(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "env.bash", tmp_path)
    result = subprocess.run(
        ["bash", "-c", "source ./env.bash; echo still alive"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "make setup" in result.stderr
    assert "still alive" in result.stdout
