"""The mean over a batch that may be spread over devices and may hold rows that do not count."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def batch_mean(
    values: Float[Array, "batch"], valid: Bool[Array, "batch"] | None = None, axis_name: str | None = None
) -> Float[Array, ""]:
    """Mean of the valid values; 0 where there is none.

    Args:
      values: one a row. What stands in rows that are not valid is ignored, but a NaN there would still reach the
        gradient: compute it from something harmless.
      valid: None: all of them.
      axis_name: of the mapped axis when the rows are one device's share of the global batch. The result is then that
        of the global batch, equal on all devices.
    """
    if valid is None:
        mean = jnp.mean(values)  # equal shares
        return mean if axis_name is None else jax.lax.pmean(mean, axis_name)
    total, count = jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid.astype(jnp.float32))
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / jnp.maximum(count, 1.0)
