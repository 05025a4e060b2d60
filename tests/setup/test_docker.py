"""The container files: linted, and every line that can run outside of a container is run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

IMAGES = ("cpu", "gpu", "jetson")
INSTRUCTION = re.compile(r"^([A-Z]+)\s+((?:.*\\\n)*.*)$", re.MULTILINE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile, comments taken out and lines joined."""
    text = "".join(
        line for line in path.read_text().splitlines(True) if not line.lstrip().startswith("#")
    )
    return [
        (name, re.sub(r"\\\n\s*", "", rest).strip()) for name, rest in INSTRUCTION.findall(text)
    ]


@pytest.fixture(params=IMAGES)
def dockerfile(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / "docker" / f"{request.param}.Dockerfile"


def test_hadolint_has_nothing_to_say(dockerfile: Path, repository: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "info", str(dockerfile)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def stages(path: Path) -> Iterator[list[tuple[str, str]]]:
    stage: list[tuple[str, str]] = []
    for name, rest in instructions(path):
        if name == "FROM" and stage:
            yield stage
            stage = []
        stage.append((name, rest))
    yield stage


def test_nothing_runs_as_root_and_the_heartbeat_is_watched(dockerfile: Path) -> None:
    for stage in stages(dockerfile):
        if not any(name == "CMD" for name, _ in stage):
            continue  # files are taken from it, nothing runs
        users = [rest for name, rest in stage if name == "USER"]
        # By number: as a name, Kubernetes cannot tell that it is not root.
        assert re.fullmatch(r"[1-9]\d*:\d+", users[-1]), users
        assert [name for name, _ in stage if name == "HEALTHCHECK"] == ["HEALTHCHECK"]
    checks = [rest for name, rest in instructions(dockerfile) if name == "HEALTHCHECK"]
    assert "check_heartbeat" in checks[0]


def test_what_is_copied_exists_and_is_copied_before_it_is_used(
    dockerfile: Path, repository: Path
) -> None:
    there: set[str] = set()
    for name, rest in instructions(dockerfile):
        words = rest.split()
        if name == "COPY" and not words[0].startswith("--from"):
            for source in words[:-1]:
                assert (repository / source).exists(), source
                there.add(source)
        for script in re.findall(r"/actiseg/entrypoint\.sh", rest) if name == "RUN" else ():
            assert "docker/entrypoint.sh" in there, script


def runs(path: Path) -> list[str]:
    return [rest for name, rest in instructions(path) if name == "RUN"]


def test_every_run_line_is_shell_and_all_its_commands_are_known(dockerfile: Path) -> None:
    """Each command is one that the tests below run, or one that only the image can run."""
    known = {"apt-get", "rm", "python3", "sed", "echo", "ldconfig", "/actiseg/entrypoint.sh"}
    for line in runs(dockerfile):
        done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for command in line.split("&&"):
            assert command.split()[0] in known, command


def test_the_lines_that_need_no_image_give_what_pip_takes(
    dockerfile: Path, repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "actiseg_ros"
    folder.mkdir()
    shutil.copy(repository / "actiseg_ros" / "requirements.txt", folder)
    pip = tmp_path / "bin" / "python3"
    pip.parent.mkdir()
    # pip itself would download; what it is given is looked at instead.
    pip.write_text(
        '#!/bin/bash\nfor a; do [ -f "$a" ] && cat "$a"; done > given; echo "$@" > how\n'
    )
    pip.chmod(0o755)
    (line,) = (line for line in runs(dockerfile) if "-m pip" in line)
    path = f"{pip.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", line], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = (
        line.partition("#")[0].strip() for line in (tmp_path / "given").read_text().splitlines()
    )
    wanted = {Requirement(line).name for line in lines if line}
    runtime = "onnxruntime" if "cpu" in dockerfile.name else "onnxruntime-gpu"
    assert runtime in wanted
    assert {"tokenizers", "rosbags", "numpy", "av", "mcap", "simplejpeg"} <= wanted
    assert not {"onnxruntime", "onnxruntime-gpu"} - {runtime} & wanted
    assert "--no-cache-dir" in (tmp_path / "how").read_text()
    left = {each.name for each in tmp_path.iterdir()}
    assert left == {"actiseg_ros", "bin", "given", "how"}, "files stay in the image"


@pytest.fixture
def entrypoint(repository: Path, tmp_path: Path) -> Path:
    """The script with its fixed places in a folder of the test."""
    text = (repository / "docker" / "entrypoint.sh").read_text()
    ros, own, memory = tmp_path / "ros", tmp_path / "actiseg", tmp_path / "shm"
    for folder in (ros / "jazzy", own / "ros2_ws" / "install", memory):
        folder.mkdir(parents=True)
    (ros / "jazzy" / "setup.bash").write_text("export ORDER=ros\n")
    (own / "env.bash").write_text('export ORDER="$ORDER own"\n')
    (own / "ros2_ws" / "install" / "local_setup.bash").write_text("")
    script = tmp_path / "entrypoint.sh"
    for place, moved in (("/opt/ros", ros), ("/actiseg/", f"{own}/"), ("/dev/shm", memory)):
        assert place in text
        text = text.replace(place, str(moved))
    script.write_text(text)
    script.chmod(0o755)
    return script


def enter(script: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    profile = "${FASTDDS_DEFAULT_PROFILES_FILE:-$FASTRTPS_DEFAULT_PROFILES_FILE}"
    told = f'echo "$ORDER"; basename "{profile}"'
    done = subprocess.run(
        [str(script), "bash", "-c", told],
        env={"PATH": os.environ["PATH"], "ROS_DISTRO": "jazzy", **environment},
        capture_output=True,
        text=True,
    )
    return done, done.stdout.splitlines()


def test_the_entrypoint_sources_ros_then_the_workspace(entrypoint: Path) -> None:
    done, told = enter(entrypoint)
    assert done.returncode == 0, done.stderr
    assert told == ["ros own", "fastdds.xml"]
    assert enter(entrypoint, DDS_TRANSPORT="udp")[1][1] == "fastdds_udp.xml"
    assert enter(entrypoint, FASTDDS_DEFAULT_PROFILES_FILE="/my/own.xml")[1][1] == "own.xml"
    (entrypoint.parent / "ros" / "kilted").mkdir()
    assert enter(entrypoint, ROS_DISTRO="kilted")[1][1] == "fastdds.xml"
    done, _ = enter(entrypoint, DDS_TRANSPORT="pigeon")
    assert done.returncode == 2 and "pigeon" in done.stderr


def test_memory_of_another_user_is_told_and_gone_around(entrypoint: Path) -> None:
    memory = entrypoint.parent / "shm" / "fastrtps_port7411"
    memory.write_bytes(b"")
    assert enter(entrypoint)[1][1] == "fastdds.xml"
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(memory, 12345, 12345)
    done, told = enter(entrypoint)
    assert told[1] == "fastdds_udp.xml" and "ACTISEG_USER" in done.stderr
    assert enter(entrypoint, DDS_TRANSPORT="shm")[1][1] == "fastdds.xml"


@pytest.fixture
def compose(repository: Path) -> dict[str, dict[str, object]]:
    """Services as they are when no setting is in the environment but the user's."""
    text = (repository / "docker" / "compose.yaml").read_text()
    text = re.sub(r"\$\{(?!ACTISEG_USER)\w+:-([^}]*)\}", r"\1", text)
    return dict(yaml.safe_load(text)["services"])


def test_no_argument_of_a_command_is_without_a_value(
    compose: dict[str, dict[str, object]],
) -> None:
    """`ros2 launch` refuses it, and so does rcl."""
    for name, service in compose.items():
        for given in service.get("command", ()):  # type: ignore[attr-defined]
            assert "$" not in given and not given.endswith(":="), (name, given)


def test_mounts_are_folders_that_are_there(
    compose: dict[str, dict[str, object]], repository: Path
) -> None:
    """Compose takes a short form without a slash for a volume, and makes what is missing."""
    mounts = [mount for service in compose.values() for mount in service.get("volumes", ())]  # type: ignore[attr-defined]
    assert mounts
    for mount in mounts:
        assert mount["type"] == "bind" and mount["bind"] == {"create_host_path": False}
        assert mount["source"].startswith("/") and mount["read_only"]
    assert "`BAG=$PWD/" in (repository / "docker" / "README.md").read_text()


def test_whoever_runs_it_on_a_jetson_may_use_the_gpu(
    compose: dict[str, dict[str, object]], repository: Path
) -> None:
    text = (repository / "docker" / "jetson.Dockerfile").read_text()
    (group,) = re.findall(r"^USER \d+:(\d+)$", text, re.MULTILINE)
    assert compose["segment-jetson"]["group_add"] == [group]
    (run,) = re.findall(r"^#   docker run((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert f"--group-add {group} " in run


def test_every_service_can_be_built_and_shares_network_and_memory(
    compose: dict[str, dict[str, object]], repository: Path
) -> None:
    assert {"segment-cpu", "segment-gpu", "segment-jetson", "replay", "bridge"} == set(compose)
    for name, service in compose.items():
        # The network of the host without its memory is the silent case: Fast DDS takes both sides
        # for one machine and leaves messages in memory that the other cannot see.
        assert service["network_mode"] == service["ipc"] == "host", name
        assert str(service["user"]).startswith("${ACTISEG_USER"), name
        build = dict(service["build"])  # type: ignore[call-overload]
        file = repository / build["dockerfile"]
        targets = re.findall(r"^FROM .* AS (\w+)$", file.read_text(), re.MULTILINE)
        assert build.get("target") in (*targets, None), name


def test_commands_start_what_is_installed_with_arguments_that_exist(
    compose: dict[str, dict[str, object]], repository: Path
) -> None:
    setup = (repository / "actiseg_ros" / "setup.py").read_text()
    launch = (repository / "launch" / "segment.launch.py").read_text()
    files = [repository / "docker" / f"{name}.Dockerfile" for name in IMAGES]
    commands = [
        json.loads(rest.partition("CMD ")[2] or rest)
        for file in files
        for name, rest in instructions(file)
        if name in ("CMD", "HEALTHCHECK")
    ]
    commands += [service["command"] for service in compose.values() if "command" in service]
    for command in commands:
        if "actiseg_ros" not in command:
            continue
        started = command[command.index("actiseg_ros") + 1]
        if started.endswith(".launch.py"):
            assert (repository / "launch" / started).is_file()
            for given in command[command.index(started) + 1 :]:
                assert f'"{given.partition(":=")[0]}"' in launch, given
        else:
            assert f'"{started} = actiseg_ros' in setup, started
