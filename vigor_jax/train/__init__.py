"""The loop, the mapped step, state and checkpoints: knows no task by name."""
