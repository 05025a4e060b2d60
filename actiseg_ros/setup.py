from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "actiseg_ros"
HERE = Path(__file__).parent


def data_files() -> list[tuple[str, list[str]]]:
    """Everything below share/actiseg_ros: description, launch files, settings, model bundles."""
    share = f"share/{PACKAGE}"
    found = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (share, ["package.xml"]),
        (f"{share}/launch", sorted(f"launch/{path.name}" for path in HERE.glob("launch/*.py"))),
        (f"{share}/config", sorted(f"config/{path.name}" for path in HERE.glob("config/*.*"))),
    ]
    for bundle in sorted(path for path in HERE.glob("bundles/*") if path.is_dir()):
        folder = bundle.relative_to(HERE).as_posix()
        files = sorted(f"{folder}/{path.name}" for path in bundle.iterdir() if path.is_file())
        found.append((f"{share}/{folder}", files))
    return found


setup(
    name=PACKAGE,
    version="0.1.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    data_files=data_files(),
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="The ActiSeg authors",
    maintainer_email="maintainers@actiseg.invalid",
    description="Segments the objects of a narrated action in a camera stream; go or no-go.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "check_heartbeat = actiseg_ros.ros.check_heartbeat:main",
            "segment_node = actiseg_ros.ros.segment_node:main",
            "consumer_node = actiseg_ros.ros.consumer_node:main",
            "record_node = actiseg_ros.ros.record_node:main",
            "replay_node = actiseg_ros.ros.replay_node:main",
        ],
    },
)
