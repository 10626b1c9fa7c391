"""Hard negatives: the pool of embeddings on the devices, and the host's table of what it found."""
