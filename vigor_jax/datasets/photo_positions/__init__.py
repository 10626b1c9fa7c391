"""Any photos with a list of where each was taken."""
