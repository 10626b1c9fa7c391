"""How far a student's embeddings are from its teacher's."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.losses.batch_mean import batch_mean


def embedding_distance(
    student: Float[Array | np.ndarray, "batch dim"],
    teacher: Float[Array | np.ndarray, "batch dim"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean over the batch of the squared Euclidean distance ||s - t||^2 (MobileNet, section 2.7).

    No label enters, and nothing of it reaches the teacher: its gradient with respect to `teacher` is zero. Of unit
    embeddings it is 2 - 2 cos, so 0 to 4, and 2 where they have nothing to do with each other.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import embedding_distance
      >>> student = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
      >>> teacher = np.array([[1.0, 0.0], [0.8, 0.6]], np.float32)
      >>> round(float(embedding_distance(student, teacher)), 4)  # the mean of 0 and 0.2^2 + 0.2^2
      0.04

    Args:
      student: embeddings; row i and row i of `teacher` are of the same image.
      teacher: embeddings.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar.
    """
    teacher = jax.lax.stop_gradient(jnp.asarray(teacher, jnp.float32))
    squares = (jnp.asarray(student, jnp.float32) - teacher) ** 2
    return batch_mean(jnp.sum(squares, axis=-1), axis_name=axis_name)
