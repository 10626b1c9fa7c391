"""From an aggregated descriptor to a unit embedding: centring and normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def unit_norm(descriptor: Float[Array | np.ndarray, "batch dim"]) -> Float[Array, "batch dim"]:
    """Rows scaled to Euclidean length one, in float32; a row of zeros stays zero and has a finite gradient."""
    descriptor = descriptor.astype(jnp.float32)
    # The floor under the squared length is TensorFlow's l2_normalize, which the authors use.
    return descriptor * jax.lax.rsqrt(jnp.maximum(jnp.sum(descriptor**2, axis=-1, keepdims=True), 1e-12))


class Centring(nn.Module):
    """Subtracts a mean descriptor, so that what all images share does not drown what tells them apart.

    Training subtracts the mean of the global batch and keeps a running mean ("batch_stats": `mean` [D] and `count`);
    evaluation subtracts the running mean, so that an embedding never depends on the other test images.

    Attributes:
      window: batches over which the running mean forgets. The first `window` batches are averaged evenly, so that
        the mean is unbiased from the first step on. Short, because the descriptors of a tower that learns fast move
        on: a mean that lags costs more recall than one of few images.
      axis_name: of the mapped axis when training sees one device's share of the rows: the mean is then that of all
        devices. None for each device by itself.
    """

    window: int = 10
    axis_name: str | None = None

    @nn.compact
    def __call__(self, descriptor: Float[Array | np.ndarray, "batch dim"], *, train: bool) -> Float[Array, "batch dim"]:
        """Centres descriptors, [B, D] -> [B, D] float32."""
        descriptor = jnp.asarray(descriptor, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, descriptor.shape[-1:], jnp.float32)
        count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.float32)
        if not train:
            return descriptor - mean.value
        batch_mean = descriptor.mean(axis=0)
        if self.axis_name is not None and not self.is_initializing():
            batch_mean = jax.lax.pmean(batch_mean, self.axis_name)
        if not self.is_initializing():
            count.value = jnp.minimum(count.value + 1, self.window)
            mean.value += (jax.lax.stop_gradient(batch_mean) - mean.value) / count.value
        return descriptor - batch_mean
