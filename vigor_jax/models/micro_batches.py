"""Large batches in the memory of small ones: the loss of all pairs, the towers on a few at a time.

Averaging the losses of small batches would be another loss: each would know the negatives of its own few pairs alone.
Here all descriptors are made first, a micro-batch at a time and without keeping how; the loss sees all of them, and
its gradient goes back through one micro-batch after the other, each encoded a second time (Gao et al., Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup, 2021). The gradient is that of the batch encoded at once,
for the third more work of the second encoding.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def in_micro_batches(
    describe: Callable[[Array, jax.Array], Float[Array, "some dim"]],
    images: Sequence[UInt8[Array | np.ndarray, "rows height width 3"]],
    key: jax.Array,
    size: int,
) -> Float[Array, "all_rows dim"]:
    """`describe(rows, key)` of all rows, keeping how it was done for one micro-batch at most; so does its gradient.

    Args:
      describe: images to descriptors, each row by itself but for the key. May close over what is differentiated.
      images: arrays of as many rows each; a micro-batch has `size` rows of every one.
      key: folded with the number of the micro-batch.
      size: divides the rows.

    Returns:
      Descriptors of the rows of the first array, then of the next.

    Raises:
      ValueError: the rows are no whole number of micro-batches.
    """
    rows = len(images[0])
    if rows % size:
        raise ValueError(f"{rows} rows are no whole number of micro-batches of {size}")

    # The loops themselves keep the two encodings apart, so no barrier is needed (prevent_cse).
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def micro_batch(number: Array, blocks: list[Array]) -> Array:
        described = describe(jnp.concatenate(blocks), jax.random.fold_in(key, number))
        return described.reshape(len(blocks), size, -1)

    blocks = [array.reshape(rows // size, size, *array.shape[1:]) for array in images]
    described = jax.lax.map(lambda each: micro_batch(*each), (jnp.arange(rows // size), blocks))
    return jnp.moveaxis(described, 1, 0).reshape(len(images) * rows, -1)
