"""Cross-entropy of classes over the global batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vigor_jax.losses.batch_mean import batch_mean


def cross_entropy(
    logits: Float[Array | np.ndarray, "batch classes"],
    label: Int[Array | np.ndarray, "batch"],
    *,
    axis_name: str | None = None,
) -> Float[Array, ""]:
    """Mean of -log softmax(logits)[label], in nats and in float32.

    Example:
      >>> import numpy as np
      >>> from vigor_jax.losses import cross_entropy
      >>> logits = np.log(np.array([[3.0, 1.0]], np.float32))  # probabilities of 3/4 and 1/4
      >>> round(float(cross_entropy(logits, np.array([0]))), 4)  # log(4/3)
      0.2877

    Args:
      logits: of the classes.
      label: the true class.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result, equal on all
        devices, is then the loss of the global batch.

    Returns:
      A float32 scalar; NaN if a label is none of 0..classes - 1, because a wrong one would be learnt without a sign.
    """
    log_probabilities = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32), axis=-1)
    label = jnp.asarray(label)
    known = (label >= 0) & (label < log_probabilities.shape[-1])
    chosen = jnp.take_along_axis(log_probabilities, jnp.where(known, label, 0)[:, None], axis=-1)[:, 0]
    return batch_mean(jnp.where(known, -chosen, jnp.nan), axis_name=axis_name)
