"""What a run can be told; importable without PyTorch."""
