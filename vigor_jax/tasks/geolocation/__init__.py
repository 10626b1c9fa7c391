"""Where on earth a photo was taken, as one of the cells of the globe."""
