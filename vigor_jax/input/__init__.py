"""Which examples make a batch, and their way from encoded images to the devices."""
