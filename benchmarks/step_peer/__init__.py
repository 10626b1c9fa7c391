"""The hybrid training step in PyTorch: the peer of `benchmarks/train_step.py`."""
