"""How far embeddings are from being all alike, which training logs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def spread(embeddings: Float[Array, "local dim"], axis_name: str) -> Float[Array, ""]:
    """Variance of the global batch's embeddings about their mean: 0 if all are equal, at most 1 for unit length."""
    embeddings = jax.lax.stop_gradient(embeddings)
    mean = jax.lax.pmean(embeddings.mean(axis=0), axis_name)
    return jax.lax.pmean(jnp.sum((embeddings - mean) ** 2, axis=1).mean(), axis_name)
