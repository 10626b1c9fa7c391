"""What can be wrong with checkpoints, said for people."""

from vigor_jax.errors import UserError


class ResumeError(UserError):
    """What lies in the workdir cannot be gone on with; the message shows both sides and the mend."""


class DamagedCheckpoint(ResumeError):
    """A checkpoint is not what was written; the message names it and says what was found."""


class SaveError(UserError):
    """A checkpoint could not be written; the message says where, why, and what is left to go on from."""
