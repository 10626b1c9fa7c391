"""Every image of a data set encoded once, batch by batch, into arrays over the devices."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from vigor_jax.datasets.cross_view import EncodedImages
from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.input.batches import image_batches
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS

# Of the model's variables and a device's images, to a tree of arrays with a row for each.
Encode = Callable[[Variables, jax.Array], Any]


class Encoder:
    """An `Encode` that writes its results where they will stay; compiled once for each mesh."""

    def __init__(self, encode: Encode):
        self._encode = encode

        @functools.partial(jax.jit, static_argnames="mesh", donate_argnums=1)
        def into(variables: Variables, kept: Any, images: jax.Array, batch: jax.Array, *, mesh: Mesh) -> Any:

            @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS), P()), out_specs=P(AXIS))
            def store(variables: Variables, kept: Any, images: jax.Array, batch: jax.Array) -> Any:
                first = batch * images.shape[0]
                return jax.tree.map(
                    lambda all_rows, rows: jax.lax.dynamic_update_slice_in_dim(all_rows, rows, first, axis=0),
                    kept,
                    encode(variables, images),
                )

            return store(variables, kept, images, batch)

        self._into = into

    def room(self, variables: Variables, images: jax.Array, rows: int, mesh: Mesh) -> Any:
        """Zeros for the results of so many images like these; a list to be joined would hold the results twice."""
        one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
        leaves, tree = jax.tree.flatten(jax.eval_shape(self._encode, variables, one))
        shapes = tuple(((rows, *leaf.shape[1:]), leaf.dtype) for leaf in leaves)
        return jax.tree.unflatten(tree, _zeros(shapes, NamedSharding(mesh, P(AXIS))))

    def into(self, variables: Variables, kept: Any, images: jax.Array, batch: int, mesh: Mesh) -> Any:
        """`kept` with the results of a batch of images; takes over its memory."""
        return self._into(variables, kept, images, np.int32(batch), mesh=mesh)


def encode_images(
    images: EncodedImages,
    names: Sequence[str],
    rows: Int[np.ndarray, "images"],
    encoders: Mapping[str, tuple[Encoder, Variables]],
    mesh: Mesh,
    *,
    batch_size: int,
    threads: int,
    should_stop: Callable[[], bool] = never,
) -> dict[str, Any]:
    """What each encoder, with its variables, makes of the images: trees of [padded, ...], rows over the devices.

    `rows_of_images` says in which row which image lies.

    Args:
      images: of the data set.
      names: of the images, for errors.
      rows: of the data set, the images to encode.
      encoders: by name.
      mesh: whose devices encode.
      batch_size: images at a time, over all devices; rounded up to a multiple of them.
      threads: that read and decode.
      should_stop: asked after every batch.

    Raises:
      EvaluationStopped: `should_stop` said so.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    hosts = jax.process_count()
    # Each host decodes its part of each batch; the last batch is filled up with the first image.
    padded = np.concatenate([rows, np.full(-len(rows) % batch_size, rows[0])])
    local = padded.reshape(-1, hosts, batch_size // hosts)[:, jax.process_index()].ravel()
    decoded = image_batches(images, local, batch_size // hosts, threads, names=names)
    batches = ({"images": batch} for batch, _ in decoded)
    kept: dict[str, Any] = {}
    with DeviceFeed(batches, mesh) as feed:
        for number, batch in enumerate(feed):
            pixels = batch["images"]
            for name, (encoder, variables) in encoders.items():
                if name not in kept:
                    kept[name] = encoder.room(variables, pixels, len(padded), mesh)
                kept[name] = encoder.into(variables, kept[name], pixels, number, mesh)
            stop_if_asked(should_stop)
    return kept


def rows_of_images(count: int, batch_size: int, mesh: Mesh) -> Int[np.ndarray, "count"]:
    """Row of each image in the arrays of `encode_images`.

    Each device keeps what it has encoded, a part of every batch, so nothing travels; and as any stretch of images is
    spread over all devices, so is the work on it.
    """
    share = -(-batch_size // mesh.size)
    batch, place = np.divmod(np.arange(count), share * mesh.size)
    device, local = np.divmod(place, share)
    batches = -(-count // (share * mesh.size))
    return (device * batches + batch) * share + local


@functools.partial(jax.jit, static_argnames=("shapes", "sharding"))
def _zeros(shapes: tuple[tuple[tuple[int, ...], Any], ...], sharding: NamedSharding) -> list[jax.Array]:
    return [jax.lax.with_sharding_constraint(jnp.zeros(*shape), sharding) for shape in shapes]
