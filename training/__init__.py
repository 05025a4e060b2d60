"""Offline half of ActiSeg: data, label noise, models, training, export and evaluation."""
