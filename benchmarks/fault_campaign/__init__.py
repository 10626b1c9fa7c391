"""The cases of `benchmarks/faults.py`, one kind of fault a file."""
