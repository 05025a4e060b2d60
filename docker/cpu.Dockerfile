# The node on any CPU (x86-64 or arm64). Build from the repository's root:
#   docker build -f docker/cpu.Dockerfile -t actiseg:cpu .
FROM ros:jazzy-ros-base

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
RUN cd ros2_ws && /actiseg/entrypoint.sh colcon build --symlink-install

ENTRYPOINT ["/actiseg/entrypoint.sh"]
CMD ["ros2", "launch", "actiseg_ros", "segment.launch.py"]
