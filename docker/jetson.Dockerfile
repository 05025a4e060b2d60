# The node on an NVIDIA Jetson with JetPack 6. Build on the Jetson, from the repository's root:
#   docker build -f docker/jetson.Dockerfile -t actiseg:jetson .
#   docker run --rm --runtime nvidia --network host --ipc host --user "$(id -u):$(id -g)" \
#       --group-add 44 actiseg:jetson

# ROS 2 Jazzy and CUDA 12.8 on Ubuntu 24.04, from the jetson-containers project. Its pip is set to
# the index with wheels for Jetson, where onnxruntime-gpu is built for this CUDA.
ARG BASE_IMAGE=dustynv/ros:jazzy-ros-base-r36.4.0-cu128-24.04
FROM ${BASE_IMAGE}

ENV ROS_DISTRO=jazzy PIP_BREAK_SYSTEM_PACKAGES=1

WORKDIR /actiseg
COPY actiseg_ros/requirements.txt actiseg_ros/requirements.txt
# pip's OpenCV, because Ubuntu's would pull in a second Python and NumPy beside the image's own.
RUN sed -E 's/^onnxruntime>.*/onnxruntime-gpu/' actiseg_ros/requirements.txt > jetson.txt \
    && python3 -m pip install --no-cache-dir -r jetson.txt "opencv-python-headless>=4.10,<4.12" \
    && rm jetson.txt

COPY actiseg_ros actiseg_ros
COPY launch launch
COPY ros2_ws/src ros2_ws/src
COPY env.bash env.bash
COPY docker/entrypoint.sh /actiseg/entrypoint.sh
WORKDIR /actiseg/ros2_ws
RUN /actiseg/entrypoint.sh colcon build --symlink-install
WORKDIR /actiseg

# A number, so that the container may run as any other: `docker run --user $(id -u)`. The GPU's
# device files belong to the group video (44 on JetPack), which any other needs `--group-add` for.
USER 1000:44
ENV HOME=/tmp ROS_LOG_DIR=/tmp/ros-log
# The heartbeat comes in every state of the node; without it for three tries the node is ill.
HEALTHCHECK --interval=15s --timeout=12s --start-period=60s --retries=3 \
    CMD ["/actiseg/entrypoint.sh", "ros2", "run", "actiseg_ros", "check_heartbeat"]
ENTRYPOINT ["/actiseg/entrypoint.sh"]
CMD ["ros2", "launch", "actiseg_ros", "segment.launch.py"]
