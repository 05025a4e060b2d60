"""Launch files: what can be checked without ROS's launch packages, and with them the rest."""

import ast
import importlib.util
import py_compile
import re
from pathlib import Path

import pytest

LAUNCH_FILES = ("segment.launch.py", "replay.launch.py")


def declared_arguments(path: Path) -> dict[str, ast.Call]:
    """Calls of `DeclareLaunchArgument` whose name is written out, by name."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return {
        call.args[0].value: call
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id == "DeclareLaunchArgument"
        and isinstance(call.args[0], ast.Constant)
    }


@pytest.fixture(params=LAUNCH_FILES)
def launch_file(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / "launch" / request.param


def test_compiles(launch_file: Path, tmp_path: Path) -> None:
    py_compile.compile(str(launch_file), cfile=str(tmp_path / "compiled.pyc"), doraise=True)


def test_every_argument_is_described(launch_file: Path) -> None:
    arguments = declared_arguments(launch_file)
    assert {"namespace", "params_file", "log_level"} <= set(arguments)
    for name, call in arguments.items():
        keywords = {keyword.arg for keyword in call.keywords}
        assert "description" in keywords, name
        assert name == "bag" or "default_value" in keywords, f"{name} has no default"


def test_every_configuration_is_declared(launch_file: Path) -> None:
    tree = ast.parse(launch_file.read_text())
    used = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"LaunchConfiguration", "value", "flag"}
        and isinstance(node.args[0], ast.Constant)
    }
    assert used
    assert used <= set(declared_arguments(launch_file))


def test_numbers_are_read_so_that_errors_name_the_argument(launch_file: Path) -> None:
    tree = ast.parse(launch_file.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
    assert "number_argument" in called and not {"float", "int"} & set(called)


def test_arguments_that_the_pages_name_exist(repository: Path) -> None:
    known: set[str] = set()
    for name in LAUNCH_FILES:
        file = repository / "launch" / name
        tables = [n.value for n in ast.parse(file.read_text()).body if isinstance(n, ast.Assign)]
        keys = [key for table in tables if isinstance(table, ast.Dict) for key in table.keys]
        known |= {key.value for key in keys if isinstance(key, ast.Constant)}
        known |= set(declared_arguments(file))
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"`([a-z_]+):=", page.read_text())}
    assert {"active_points", "depth_rectified"} <= named
    assert named <= known


def test_executables_exist(launch_file: Path, repository: Path) -> None:
    setup = (repository / "actiseg_ros" / "setup.py").read_text()
    tree = ast.parse(launch_file.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = [
        {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        for call in calls
    ]
    executables = [
        values["executable"] for values in given if values.get("package") == "actiseg_ros"
    ]
    assert executables
    for executable in executables:
        assert f'"{executable} = actiseg_ros.ros.{executable}:main"' in setup


def test_description_is_made(launch_file: Path) -> None:
    # `launch.actions`, because the folder launch/ of this repository is found as `launch` too.
    pytest.importorskip("launch.actions", reason="ROS's launch packages are not on PyPI")
    pytest.importorskip("launch_ros.actions", reason="ROS's launch packages are not on PyPI")
    spec = importlib.util.spec_from_file_location("launch_file", launch_file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.generate_launch_description().entities
