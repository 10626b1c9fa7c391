"""Local response normalisation: a feature over the power of those at its position in neighbouring channels."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def local_response_normalisation(
    features: Float[Array | np.ndarray, "*positions channels"],
    size: int = 5,
    k: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> Float[Array, "*positions channels"]:
    """b_i = a_i / (k + alpha * sum of a_j^2)^beta over the `size` channels around i (Krizhevsky et al., 2012, 3.3).

    alpha is on the sum, as the paper has it. Caffe and PyTorch divide theirs by `size`: their 5e-4 is 1e-4 here. The
    first and last channels have fewer neighbours.

    Args:
      features: channels last.
      size: of the window, odd.
      k: added to the sum.
      alpha: factor of the sum.
      beta: power.

    Returns:
      The same shape and type; computed in float32.
    """
    if size % 2 == 0:
        raise ValueError(f"a window of {size} channels has no channel in its middle. Give an odd size.")
    exact = jnp.asarray(features, jnp.float32)
    channels = exact.shape[-1]
    sides = [(0, 0)] * (exact.ndim - 1) + [(size // 2, size // 2)]
    squares = jnp.pad(exact**2, sides)
    power = sum(squares[..., i : i + channels] for i in range(size))
    return (exact * (k + alpha * power) ** -beta).astype(features.dtype)
