"""What can be wrong with what a run left, said for people."""

from vigor_jax.errors import UserError


class NoFinishedRun(UserError):
    """A folder holds no run that is complete; the message says what it holds instead."""


class RunFileError(UserError):
    """A file of a run is missing, damaged or of other data; the message names it and the mend."""


class ResumeError(UserError):
    """What lies in the workdir cannot be gone on with; the message shows both sides and the mend."""


class DamagedCheckpoint(ResumeError):
    """A checkpoint is not what was written; the message names it and says what was found."""


class SaveError(UserError):
    """A checkpoint could not be written; the message says where, why, and what is left to go on from."""
