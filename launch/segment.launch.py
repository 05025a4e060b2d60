"""Starts `segment_node`: masks of active objects and a go/no-go decision for a camera stream.

Example: `ros2 launch actiseg_ros segment.launch.py image_topic:=/camera/image_raw rviz:=true`.
"""

import os
import sys
from pathlib import Path

from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.logging import get_logger, launch_config
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from actiseg_ros.ros import fast_dds
from actiseg_ros.ros.arguments import number_argument, untaken_arguments
from actiseg_ros.ros.views import write_layout

CONFIG = Path(get_package_share_directory("actiseg_ros")) / "config"

# Parameters that are often set alone. An empty argument leaves the value of params_file; nothing
# else overrides it.
TEXTS = {
    "bundle": ("Folder of the model bundle", None),
    "provider": ("Where the network runs", ["auto", "cpu", "cuda", "tensorrt"]),
    "image_transport": (
        "raw images, or compressed ones from <image_topic>/compressed",
        ["raw", "compressed"],
    ),
    "image_reliability": (
        "Reliability asked of the image publisher",
        ["best_effort", "reliable"],
    ),
}
NUMBERS = {
    "max_risk": "Largest certified risk that is accepted, as a share (0.3 is 30 %)",
    "depth_tolerance": "Seconds that a depth picture may lie from its image",
}
FLAGS = {
    "use_sim_time": "Take the time from /clock (simulation or a bag that is played)",
    "autostart": "Configure and activate at start; false leaves it to a lifecycle manager",
    "active_points": "Publish the target's points, from depth_topic and camera_info_topic",
    "depth_rectified": "Image and depth picture are rectified (image_rect)",
}
BRIDGE_PORT = 8765


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Builds the node once the values of the launch arguments are known."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    overrides: dict[str, str | float | bool] = {n: value(n) for n in TEXTS if value(n)}
    overrides |= {name: number_argument(name, value(name)) for name in NUMBERS if value(name)}
    overrides |= {name: value(name) == "true" for name in FLAGS if value(name)}
    image_topic, enclave = value("image_topic"), value("enclave")
    params_file = Path(value("params_file")).expanduser()
    if not params_file.is_file():  # launch only warns, and the node would run with its defaults
        raise RuntimeError(f"params_file:={params_file}: there is no such file")
    return [
        LifecycleNode(
            package="actiseg_ros",
            executable="segment_node",
            name="segment",
            namespace=value("namespace"),
            output="screen",
            emulate_tty=True,
            respawn=value("use_respawn") == "true",
            respawn_delay=2.0,
            parameters=[str(params_file), *([overrides] if overrides else [])],
            remappings=[
                ("image", image_topic),
                ("image/compressed", f"{image_topic}/compressed"),
                ("narration", value("narration_topic")),
                ("action", value("action_topic")),
                ("depth", value("depth_topic")),
                ("camera_info", value("camera_info_topic")),
            ],
            ros_arguments=[
                "--log-level",
                value("log_level"),
                *(["--enclave", enclave] if enclave else []),
            ],
        )
    ]


def show(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Opens what was asked for to look at the node's outputs."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    namespace, folder = value("namespace"), Path(launch_config.log_dir)
    shown: list[LaunchDescriptionEntity] = []
    if value("rviz") == "true" or (value("rviz") == "auto" and can_show("rviz2")):
        need("rviz2", "rviz2")
        layout = write_layout(CONFIG / "segment.rviz", folder, namespace)
        arguments = ["--display-config", str(layout)]
        shown.append(Node(package="rviz2", executable="rviz2", arguments=arguments))
    if value("foxglove") == "true":
        need("foxglove_bridge", "foxglove-bridge")
        layout = write_layout(CONFIG / "segment.foxglove.json", folder, namespace)
        told = f"Foxglove: open ws://localhost:{BRIDGE_PORT} and import the layout {layout}"
        bridge = Node(
            package="foxglove_bridge",
            executable="foxglove_bridge",
            output="screen",
            parameters=[{"port": BRIDGE_PORT}],
        )
        shown += [bridge, LogInfo(msg=told)]
    return shown


def installed(package: str) -> bool:
    """Whether a ROS package is there."""
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def can_show(package: str) -> bool:
    """Whether a ROS package is there and there is a screen to show its window on."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and installed(package)


def need(package: str, debian: str) -> None:
    """Checks that a package that was asked for is installed."""
    if not installed(package):
        distribution = os.environ.get("ROS_DISTRO", "jazzy")
        raise RuntimeError(
            f"{package} is not installed: sudo apt install ros-{distribution}-{debian}"
        )


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments, which `ros2 launch` lists with `--show-args`."""
    arguments = [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and its topics"
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(CONFIG / "segment.yaml"),
            description="YAML file with the node's parameters",
        ),
        DeclareLaunchArgument(
            "use_respawn",
            default_value="false",
            choices=["true", "false"],
            description="Start the node again two seconds after it has died",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="Least severe level that is logged",
        ),
        DeclareLaunchArgument(
            "enclave",
            default_value="",
            description="Enclave of the node under SROS 2, see config/segment.policy.xml",
        ),
        DeclareLaunchArgument(
            "image_topic", default_value="image", description="Topic of the camera's images"
        ),
        DeclareLaunchArgument(
            "narration_topic",
            default_value="narration",
            description="Topic of the narration (std_msgs/String)",
        ),
        DeclareLaunchArgument(
            "action_topic",
            default_value="action",
            description="Topic of the action (actiseg_msgs/ActionNarration)",
        ),
        DeclareLaunchArgument(
            "depth_topic",
            default_value="depth",
            description="Topic of the depth picture that is registered to the image",
        ),
        DeclareLaunchArgument(
            "camera_info_topic",
            default_value="camera_info",
            description="Topic of the camera info of image and depth (sensor_msgs/CameraInfo)",
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="false",
            choices=["true", "false", "auto"],
            description="Show overlay, mask and decision in RViz; auto: if it can be shown here",
        ),
        DeclareLaunchArgument(
            "foxglove",
            default_value="false",
            choices=["true", "false"],
            description="Start foxglove_bridge and write a layout for Foxglove",
        ),
    ]
    for name, (text, choices) in TEXTS.items():
        arguments.append(
            DeclareLaunchArgument(
                name,
                default_value="",
                choices=choices and ["", *choices],
                description=f"{text}; empty: as in params_file",
            )
        )
    for name, text in NUMBERS.items():
        arguments.append(
            DeclareLaunchArgument(
                name, default_value="", description=f"{text}; empty: as in params_file"
            )
        )
    for name, text in FLAGS.items():
        arguments.append(
            DeclareLaunchArgument(
                name,
                default_value="",
                choices=["", "true", "false"],
                description=f"{text}; empty: as in params_file",
            )
        )

    def tell_untaken(context: LaunchContext) -> None:
        known = [argument.name for argument in arguments]
        for text in untaken_arguments(context.argv, sys.argv, Path(__file__).name, known):
            get_logger("launch").warning(text)

    environment = [SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1")]
    if not set(fast_dds.VARIABLES) & set(os.environ):
        # Shared memory large enough for camera images; the camera driver needs it too.
        profile = str(fast_dds.profile("fastdds.xml"))
        environment.append(SetEnvironmentVariable(fast_dds.variable(), profile))
    started = [OpaqueFunction(function=step) for step in (tell_untaken, show, start_node)]
    return LaunchDescription([*environment, *arguments, *started])
