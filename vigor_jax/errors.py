"""Errors meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend. The message says what was found, where, and what to do; no traceback is needed."""
