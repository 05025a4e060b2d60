"""EPIC-KITCHENS recordings and rosbag2 files."""
