"""Label noise of the benchmark: object names (Algorithm 1), mask outlines (Algorithm 2)."""
