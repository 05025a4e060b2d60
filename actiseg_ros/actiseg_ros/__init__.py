"""Run-time half of ActiSeg: segmentation, uncertainty and the go/no-go gate for ROS 2.

Only the modules whose names end in ``_node`` import rclpy; nothing here imports PyTorch.
"""
