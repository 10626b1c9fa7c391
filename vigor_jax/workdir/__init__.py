"""What a run leaves on the disk, and how it is read again without the program that trained it."""
