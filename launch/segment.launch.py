"""Starts `segment_node`: masks of active objects and a go/no-go decision for a camera stream.

Example: `ros2 launch actiseg_ros segment.launch.py image_topic:=/camera/image_raw`.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode

SHARE = Path(get_package_share_directory("actiseg_ros"))

# Parameters that are often set alone; an empty argument leaves the value of params_file.
OVERRIDES = {
    "bundle": "Folder of the model bundle",
    "image_transport": "raw images, or compressed ones from <image_topic>/compressed",
    "image_reliability": "Reliability asked of the image publisher: best_effort or reliable",
}


def start_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Builds the node once the values of the launch arguments are known."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def flag(name: str) -> bool:
        return value(name).lower() in ("true", "1", "yes", "on")

    overrides: dict[str, str | bool] = {name: value(name) for name in OVERRIDES if value(name)}
    overrides["use_sim_time"] = flag("use_sim_time")
    overrides["autostart"] = flag("autostart")
    image_topic = value("image_topic")
    return [
        LifecycleNode(
            package="actiseg_ros",
            executable="segment_node",
            name="segment",
            namespace=value("namespace"),
            output="screen",
            emulate_tty=True,
            respawn=flag("use_respawn"),
            respawn_delay=2.0,
            parameters=[value("params_file"), overrides],
            remappings=[
                ("image", image_topic),
                ("image/compressed", f"{image_topic}/compressed"),
                ("narration", value("narration_topic")),
                ("action", value("action_topic")),
            ],
            ros_arguments=["--log-level", value("log_level")],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments, which `ros2 launch` lists with `--show-args`."""
    arguments = [
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of the node and its topics"
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Take the time from /clock (simulation or a bag that is played)",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=str(SHARE / "config" / "segment.yaml"),
            description="YAML file with the node's parameters",
        ),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=["true", "false"],
            description="Configure and activate at start; false leaves it to a lifecycle manager",
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
    ]
    arguments += [
        DeclareLaunchArgument(
            name, default_value="", description=f"{text}; empty: as in params_file"
        )
        for name, text in OVERRIDES.items()
    ]
    environment = [SetEnvironmentVariable("RCUTILS_LOGGING_BUFFERED_STREAM", "1")]
    if "FASTRTPS_DEFAULT_PROFILES_FILE" not in os.environ:
        # Shared memory large enough for camera images; the camera driver needs it too.
        profile = str(SHARE / "config" / "fastdds.xml")
        environment.append(SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", profile))
    return LaunchDescription([*environment, *arguments, OpaqueFunction(function=start_node)])
