# The node on any CPU (x86-64 or arm64), and with it the replay. Build from the repository's root:
#   docker build -f docker/cpu.Dockerfile --target node -t actiseg:cpu .
FROM ros:jazzy-ros-base AS node

# Versions are those of the base image's Ubuntu.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-opencv python3-pil python3-pip \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /actiseg
COPY actiseg_ros/requirements.txt actiseg_ros/requirements.txt
# The image holds nothing but this application, so there is no environment to protect.
RUN python3 -m pip install --no-cache-dir --break-system-packages -r actiseg_ros/requirements.txt

COPY actiseg_ros actiseg_ros
COPY launch launch
COPY ros2_ws/src ros2_ws/src
COPY env.bash env.bash
COPY docker/entrypoint.sh /actiseg/entrypoint.sh
WORKDIR /actiseg/ros2_ws
RUN /actiseg/entrypoint.sh colcon build --symlink-install
WORKDIR /actiseg

# A number, so that the container may run as any other: `docker run --user $(id -u)`.
USER 1000:1000
ENV HOME=/tmp ROS_LOG_DIR=/tmp/ros-log
# The heartbeat comes in every state of the node; without it for three tries the node is ill.
HEALTHCHECK --interval=15s --timeout=12s --start-period=60s --retries=3 \
    CMD ["/actiseg/entrypoint.sh", "ros2", "run", "actiseg_ros", "check_heartbeat"]
ENTRYPOINT ["/actiseg/entrypoint.sh"]
CMD ["ros2", "launch", "actiseg_ros", "segment.launch.py"]

# Foxglove's bridge, which needs the messages of this workspace.
FROM node AS bridge

USER 0:0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ros-jazzy-foxglove-bridge \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/localhost/8765"]
CMD ["ros2", "run", "foxglove_bridge", "foxglove_bridge", "--ros-args", "-p", "port:=8765"]
