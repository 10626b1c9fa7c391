"""Large batches in the memory of small ones: the loss of all pairs, the towers on a few at a time.

Averaging the losses of small batches would be another loss: each would know the negatives of its own few pairs alone.
Here all descriptors are made first, a micro-batch at a time and without keeping how; the loss sees all of them, and
its gradient goes back through one micro-batch after the other, each encoded a second time (Gao et al., Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup, 2021). The gradient is that of the batch encoded at once,
for the third more work of the second encoding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vigor_jax.models.cross_view import CrossViewModel, Pairs

Variables = dict[str, Any]


def training_pairs(
    model: CrossViewModel,
    variables: Variables,
    aerial: UInt8[Array | np.ndarray, "pairs aerial_height aerial_width 3"],
    ground: UInt8[Array | np.ndarray, "pairs ground_height ground_width 3"],
    semi_positive: UInt8[Array | np.ndarray, "pairs aerial_height aerial_width 3"] | None = None,
    *,
    dropout: jax.Array,
    micro_batch_size: int = 0,
    axis_name: str | None = None,
) -> tuple[Pairs, Variables]:
    """Pairs of a training batch, and the mutable variables after it.

    Centring, normalisation and the offset head always act on all rows. Dropout has a key of its own in each
    micro-batch and view, the same in both encodings, so its draws are others than those of the batch encoded at once.

    Args:
      model: of the variables.
      variables: the same on all devices. With micro-batches, parameters under a mapped axis that vary over it
        (`jax.lax.pcast`), so that their gradients are not summed over the devices in every micro-batch.
      aerial: row i matches row i of `ground`.
      ground: panoramas.
      semi_positive: second tiles of the pairs.
      dropout: key; under a mapped axis the device's own.
      micro_batch_size: pairs that are encoded at a time; 0 for all of them.
      axis_name: of the mapped axis when the rows are one device's share.

    Raises:
      ValueError: the rows are no whole number of micro-batches.
    """
    model = model.clone(axis_name=axis_name)
    together = {"train": True, "mutable": [name for name in variables if name != "params"]}
    if micro_batch_size in (0, len(ground)):
        return model.apply(variables, aerial, ground, semi_positive, rngs={"dropout": dropout}, **together)

    params = variables["params"]
    aerial_key, ground_key = jax.random.split(dropout)

    def describe(view: str, images: list[Array], key: jax.Array) -> Array:
        def one(images: Array, key: jax.Array) -> Array:
            rngs = {"dropout": key}
            return model.apply({"params": params}, images, train=True, method=f"describe_{view}", rngs=rngs)

        return in_micro_batches(one, images, key, micro_batch_size)

    # One view after the other, so that only one tower's encoding is kept at a time.
    tiles = describe("aerial", [aerial] if semi_positive is None else [aerial, semi_positive], aerial_key)
    panoramas = describe("ground", [ground], ground_key)
    return model.apply(variables, tiles, panoramas, method="pairs", **together)


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
