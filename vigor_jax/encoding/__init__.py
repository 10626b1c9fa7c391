"""A model over many images: onto the devices, onto the host."""
