"""Plays a bag with images and narrations to `segment_node`, in place of a camera, and shows it.

Example: `ros2 launch actiseg_ros replay.launch.py bag:=my_bag`, with a bag from `actiseg bag` or
`ros2 bag record`.
"""

import sys
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from actiseg_ros.ros.arguments import means_node, number_argument, untaken_arguments
from actiseg_ros.ros.views import in_namespace

SHARE = Path(get_package_share_directory("actiseg_ros"))
SEGMENT = PythonLaunchDescriptionSource(str(SHARE / "launch" / "segment.launch.py"))


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Builds the nodes once the values of the launch arguments are known."""

    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    bag = Path(value("bag")).expanduser()
    image_topic, transport = images_of(bag, value("image_topic"), value("image_transport"))
    node = in_namespace("/segment/", value("namespace")).rstrip("/")
    clock = value("use_sim_time") or str(uses_sim_time(Path(value("params_file")), node)).lower()
    topics = [name for name in map(str.strip, value("topics").split(",")) if name]
    replay = Node(
        package="actiseg_ros",
        executable="replay_node",
        name="replay",
        namespace=value("namespace"),
        output="screen",
        emulate_tty=True,
        parameters=[
            {
                "bag": str(bag),
                "rate": number_argument("rate", value("rate")),
                "loop": value("loop") == "true",
                "start_offset": number_argument("start_offset", value("start_offset")),
                "clock": clock == "true",
                # A model takes a second to load; the first images would be lost.
                "wait_for_subscribers": 30.0,
                **({"topics": topics} if topics else {}),
            }
        ],
        ros_arguments=["--log-level", value("log_level")],
    )
    segment = IncludeLaunchDescription(
        SEGMENT,
        launch_arguments={"image_topic": image_topic, "image_transport": transport}.items(),
    )
    shown = in_namespace("/segment/overlay/compressed", value("namespace"))
    told = f"playing {image_topic} ({transport}); the overlay is on {shown}"
    ended = RegisterEventHandler(OnProcessExit(target_action=replay, on_exit=end))
    return [LogInfo(msg=told), segment, ended, replay]


def images_of(bag: Path, topic: str, transport: str) -> tuple[str, str]:
    """Topic and transport of a bag's camera images, as the node's parameters name them."""
    base = topic.strip("/").removesuffix("/compressed")
    try:
        from actiseg_ros.bags.cameras import camera_topic
        from actiseg_ros.bags.recording import open_recording
    except ImportError:  # only the nodes' own Python has rosbags: as `actiseg bag` writes them
        return base or "image", transport or "compressed"
    with open_recording(bag) as recording:
        if not base:
            found = camera_topic(recording, "", "image_topic:=NAME")
            base = found.name.strip("/").removesuffix("/compressed")
        forms = {"raw": f"/{base}", "compressed": f"/{base}/compressed"}
        held = [form for form, name in forms.items() if name in recording.topics]
        form = transport or next(iter(held), "raw")
        camera_topic(recording, forms[form], "image_topic:=NAME")
    return base, form


def uses_sim_time(params_file: Path, node: str) -> bool:
    """Whether a parameter file sets `use_sim_time` for a node.

    Args:
        params_file: The file.
        node: Name of the node with its namespace.
    """
    try:
        content = yaml.safe_load(params_file.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RuntimeError(f"params_file:={params_file} cannot be read ({error})") from error
    return _sets_sim_time(content, node)


def _sets_sim_time(content: object, node: str, prefix: str = "") -> bool:
    """The same of a part of the file; namespaces and nodes may be nested."""
    if not isinstance(content, dict):
        return False
    given = content.get("ros__parameters")
    if isinstance(given, dict):
        return given.get("use_sim_time") is True and means_node(prefix, node)
    return any(
        _sets_sim_time(part, node, f"{prefix}/{str(name).strip('/')}")
        for name, part in content.items()
    )


def end(event: ProcessExited, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Ends everything with the replay; if that failed, so does the launch."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"replay_node ended with status {event.returncode}; see above")
    return [Shutdown(reason="the bag has ended")]


def generate_launch_description() -> LaunchDescription:
    """Declares the arguments; those of segment.launch.py may be given too."""
    arguments = [
        DeclareLaunchArgument("bag", description="Folder or file of the bag to play"),
        DeclareLaunchArgument(
            "topics",
            default_value="",
            description="Topics to play, with commas between; all but what was decided and drawn",
        ),
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
            "params_file",
            default_value=str(SHARE / "config" / "segment.yaml"),
            description="YAML file with the parameters of `segment_node`",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            choices=["", "true", "false"],
            description="Keep the bag's stamps and publish /clock; false moves stamps to now; "
            "empty: as in params_file",
        ),
        DeclareLaunchArgument(
            "image_topic",
            default_value="",
            description="Camera images of the bag; empty: its only camera",
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="",
            choices=["", "raw", "compressed"],
            description="Which of the bag's images; empty: those that it holds",
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="auto",
            choices=["true", "false", "auto"],
            description="Show overlay, mask and decision in RViz; auto: if it can be shown here",
        ),
        DeclareLaunchArgument(
            "log_level", default_value="info", description="Least severe level that is logged"
        ),
    ]

    def tell_untaken(context: LaunchContext) -> None:
        others = SEGMENT.get_launch_description(context).get_launch_arguments()
        known = [argument.name for argument in (*arguments, *others)]
        for text in untaken_arguments(context.argv, sys.argv, Path(__file__).name, known):
            get_logger("launch").warning(text)

    started = [OpaqueFunction(function=step) for step in (tell_untaken, start)]
    return LaunchDescription([*arguments, *started])
