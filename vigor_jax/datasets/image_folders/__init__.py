"""Any photos sorted into a folder for each class."""
