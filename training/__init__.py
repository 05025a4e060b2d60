"""Offline half of ActiSeg: data, label noise, models, training, export and evaluation."""

import actiseg_ros  # noqa: F401  (before anything imports ONNX Runtime, which it keeps quiet)
