"""Plays a bag with images and narrations to `segment_node`, in place of a camera.

Example: `ros2 launch actiseg_ros replay.launch.py bag:=my_bag`, with a bag from `actiseg bag`.
"""

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; those of segment.launch.py may be given too."""
    arguments = [
        DeclareLaunchArgument("bag", description="Folder of the bag to play"),
        DeclareLaunchArgument(
            "rate", default_value="1.0", description="Speed of the replay; 1.0 is as recorded"
        ),
        DeclareLaunchArgument(
            "loop",
            default_value="false",
            choices=["true", "false"],
            description="Start again at the end of the bag",
        ),
        DeclareLaunchArgument(
            "start_offset", default_value="0.0", description="Seconds of the bag to skip"
        ),
        DeclareLaunchArgument(
            "namespace", default_value="", description="Namespace of both nodes and their topics"
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Keep the bag's stamps and publish /clock; false moves stamps to now",
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="compressed",
            choices=["raw", "compressed"],
            description="How the bag holds its images; `actiseg bag` writes compressed ones",
        ),
        DeclareLaunchArgument(
            "log_level", default_value="info", description="Least severe level that is logged"
        ),
    ]
    share = FindPackageShare("actiseg_ros")
    segment = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "segment.launch.py"])),
        launch_arguments={
            name: LaunchConfiguration(name)
            for name in ("namespace", "use_sim_time", "image_transport", "log_level")
        }.items(),
    )
    replay = Node(
        package="actiseg_ros",
        executable="replay_node",
        name="replay",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            {
                "bag": ParameterValue(LaunchConfiguration("bag"), value_type=str),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                "start_offset": ParameterValue(
                    LaunchConfiguration("start_offset"), value_type=float
                ),
                "clock": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool),
                # A model takes a second to load; the first images would be lost.
                "wait_for_subscribers": 30.0,
            }
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
    )
    ended = RegisterEventHandler(
        OnProcessExit(target_action=replay, on_exit=[Shutdown(reason="the bag has ended")])
    )
    return LaunchDescription([*arguments, segment, ended, replay])
