"""Where a teacher's weights are in a student's run, and that it goes on with the very teacher it began with.

A teacher is encoded inside the mapped step. Its variables are a collection, "teacher", of the student's: the state
hands them from step to step in place, donated and never copied; they are arguments of the program, not constants
compiled into it; and neither the gradient nor the optimiser, which see "params" alone, know of them.

The price is that every checkpoint holds the teacher, four bytes a parameter, where a trained parameter takes twelve.
For that a checkpoint is complete, under its checksums. Another teacher is refused by the fingerprint, and again as the
state is put back, where changes were allowed: the weights of the checkpoint would silently be the old ones.
"""

import numpy as np

from vigor_jax.errors import UserError
from vigor_jax.models.variables import Variables

TEACHER = "teacher"  # the collection of its variables


class SameTeacher:
    """The part of a task that keeps which teacher it is in the checkpoint's plan."""

    def __init__(self, name: str, digest: str):
        """Keeps both.

        Args:
          name: of the teacher, as the config has it.
          digest: of its variables, in hexadecimal digits.
        """
        self._teacher_name, self._teacher_digest = name, digest

    def plan_state(self) -> dict[str, np.ndarray]:
        """Which teacher it is."""
        return {TEACHER: np.frombuffer(bytes.fromhex(self._teacher_digest), np.uint8)}

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Compares the teacher.

        Raises:
          UserError: the checkpoint holds another teacher's weights.
        """
        stored = np.asarray(state[TEACHER], np.uint8).tobytes().hex()
        if stored != self._teacher_digest:
            raise UserError(
                f"config.distillation.teacher = {self._teacher_name!r} has the weights {self._teacher_digest}, and "
                f"this run began with those of {stored}, which its checkpoints hold. A teacher cannot be exchanged "
                "midway: give another --workdir, or name the old one."
            )


def divided(variables: Variables) -> tuple[Variables, Variables]:
    """(of the student, of the teacher)."""
    student = dict(variables)
    return student, student.pop(TEACHER)
