"""Errors meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend. The message says what was found, where, and what to do; no traceback is needed."""


class Preempted(KeyboardInterrupt):
    """The run was asked to stop and did, with all that was done saved; the message has the command that goes on.

    Its exit code is `PREEMPTED`, by which a scheduler knows that the same command is worth giving again.
    """


PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h
