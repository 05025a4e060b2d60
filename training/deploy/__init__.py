"""From weights to a calibrated model bundle."""
