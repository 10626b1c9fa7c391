"""How many batches and steps are under way at a time, from the plan of a batch to what its step found."""

# Whose examples are being read and decoded: the batch that is handed out next, and those behind it.
BATCHES_READ = 3
# On the devices, or on their way to them, and not asked for yet.
BATCHES_ON_DEVICES = 2
# Handed over to the devices, which have not finished them: enough to keep them busy, few enough that batches do not
# pile up in their memory and that the host's clock shows their speed.
STEPS_IN_FLIGHT = 2

# From the newest step that is surely finished to the newest batch that is planned.
PLANNED_AHEAD = BATCHES_READ + BATCHES_ON_DEVICES + STEPS_IN_FLIGHT


def require_known_in_time(lag: int) -> None:
    """Refuses a plan whose batches would have to wait for steps that are under way when they are planned.

    The plan holds up the reading while it waits, and the step that it waits for may need a batch that is yet to be
    read. One step more than are under way is for what a finished step found to reach the host.

    Args:
      lag: the batch of step t is drawn from what the steps up to t - lag found.

    Raises:
      ValueError: names the smallest lag.
    """
    if lag <= PLANNED_AHEAD:
        raise ValueError(
            f"a lag of {lag} steps: a batch is planned up to {PLANNED_AHEAD} steps ahead of the newest one that is "
            f"surely finished ({BATCHES_READ} batches are being read, {BATCHES_ON_DEVICES} wait on the devices, "
            f"{STEPS_IN_FLIGHT} steps are in flight), so it would wait for the devices. Make it at least "
            f"{PLANNED_AHEAD + 1}, or read less far ahead."
        )
