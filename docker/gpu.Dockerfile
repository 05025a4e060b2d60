# The node on an x86-64 machine with an NVIDIA GPU; the host needs the NVIDIA Container Toolkit.
# Build from the repository's root:
#   docker build -f docker/gpu.Dockerfile -t actiseg:gpu .
#   docker run --rm --gpus all --network host --ipc host --user "$(id -u):$(id -g)" actiseg:gpu

# CUDA 12 and cuDNN 9 for Ubuntu 24.04, which Jazzy's image is built on too.
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 AS cuda

FROM ros:jazzy-ros-base

COPY --from=cuda /usr/local/cuda-12.6/targets/x86_64-linux/lib /usr/local/cuda/lib64
COPY --from=cuda /usr/lib/x86_64-linux-gnu/libcudnn*.so* /usr/local/cuda/lib64/
RUN echo /usr/local/cuda/lib64 > /etc/ld.so.conf.d/cuda.conf && ldconfig
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Versions are those of the base image's Ubuntu.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-opencv python3-pil python3-pip \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /actiseg
COPY actiseg_ros/requirements.txt actiseg_ros/requirements.txt
# onnxruntime-gpu replaces onnxruntime (one module, two packages); 1.22 is built for CUDA 12.
RUN sed -E 's/^onnxruntime>.*/onnxruntime-gpu==1.22.*/' actiseg_ros/requirements.txt > gpu.txt \
    && python3 -m pip install --no-cache-dir --break-system-packages -r gpu.txt \
    && rm gpu.txt

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
