"""Run-time half of ActiSeg: segmentation, uncertainty and the go/no-go gate for ROS 2.

Only the modules whose names end in ``_node`` import rclpy; nothing here imports PyTorch.
"""

import os

# ONNX Runtime's wheels for Linux report to their maker since 1.3x, keep a database at home for it,
# and listen to this variable alone, read when they are imported. A robot talks to nobody unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
