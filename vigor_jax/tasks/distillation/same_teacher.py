"""Where a teacher's weights are in a student's run, and that it goes on with the very teacher it began with.

A teacher is encoded inside the mapped step. Its variables are a collection, "teacher", of the student's: the state
hands them from step to step in place, donated and never copied; they are arguments of the program, not constants
compiled into it; and neither the gradient nor the optimiser, which see "params" alone, know of them.

The price is that every checkpoint holds the teacher, four bytes a parameter, where a trained parameter takes twelve.
For that a checkpoint is complete, under its checksums. Another teacher is refused by the fingerprint, and again as the
state is put back, where changes were allowed: the weights of the checkpoint would silently be the old ones.
"""

import numpy as np
from absl import logging

from vigor_jax.errors import UserError
from vigor_jax.models.variables import Variables

TEACHER = "teacher"  # the collection of its variables


class SameTeacher:
    """Keeps in the checkpoint's plan which teacher a run began with."""

    def __init__(self, name: str, digest: str, dim: int):
        """Logs the teacher.

        Args:
          name: as the config has it.
          digest: of its variables, in hexadecimal digits.
          dim: of its embeddings.
        """
        self._name, self._digest = name, digest
        logging.info("The teacher is %s: embeddings of %d numbers.", name, dim)

    def plan_state(self) -> dict[str, np.ndarray]:
        """Says which teacher it is."""
        return {TEACHER: np.frombuffer(bytes.fromhex(self._digest), np.uint8)}

    def restore_plan(self, state: dict[str, np.ndarray]) -> None:
        """Requires the same teacher.

        Raises:
          UserError: the checkpoint holds another teacher's weights.
        """
        stored = np.asarray(state[TEACHER], np.uint8).tobytes().hex()
        if stored != self._digest:
            raise UserError(
                f"config.distillation.teacher = {self._name!r} has the weights {self._digest}, and "
                f"this run began with those of {stored}, which its checkpoints hold. A teacher cannot be exchanged "
                "midway: give another --workdir, or name the old one."
            )


def divided(variables: Variables) -> tuple[Variables, Variables]:
    """Divides a run's variables: (of the student, of the teacher)."""
    student = dict(variables)
    return student, student.pop(TEACHER)
