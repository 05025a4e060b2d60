# The node on an x86-64 machine with an NVIDIA GPU; the host needs the NVIDIA Container Toolkit.
# Build from the repository's root:
#   docker build -f docker/gpu.Dockerfile -t actiseg:gpu .
#   docker run --rm --gpus all --network host --ipc host actiseg:gpu

# CUDA 12 and cuDNN 9 for Ubuntu 24.04, which Jazzy's image is built on too.
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 AS cuda

FROM ros:jazzy-ros-base

COPY --from=cuda /usr/local/cuda-12.6/targets/x86_64-linux/lib /usr/local/cuda/lib64
COPY --from=cuda /usr/lib/x86_64-linux-gnu/libcudnn*.so* /usr/local/cuda/lib64/
RUN echo /usr/local/cuda/lib64 > /etc/ld.so.conf.d/cuda.conf && ldconfig
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

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
RUN cd ros2_ws && /actiseg/entrypoint.sh colcon build --symlink-install

ENTRYPOINT ["/actiseg/entrypoint.sh"]
CMD ["ros2", "launch", "actiseg_ros", "segment.launch.py"]
