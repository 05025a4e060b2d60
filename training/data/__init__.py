"""Data: VISOR preparation, the clip data set, augmentation and the synthetic kitchen."""
