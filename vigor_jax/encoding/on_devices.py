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


class DeviceRows:
    """Knows which row of arrays over the devices is of which image, as `encode_images` fills them.

    Each device keeps what it has encoded, a part of every batch, so nothing travels; and as any stretch of images is
    spread over all devices, so is the work on it.

    Attributes:
      images: rows of the data set, ascending, each once.
      mesh: of the devices.
      batch_size: images encoded at a time, over all devices.
    """

    def __init__(self, images: Int[np.ndarray, "images"], batch_size: int, mesh: Mesh):
        """Divides the images among the devices.

        Args:
          images: rows of the data set, at least one; in any order, and again and again if they like.
          batch_size: rounded up to a multiple of the devices.
          mesh: of the devices.
        """
        self.images, self.mesh = np.unique(images), mesh
        self.batch_size = -(-batch_size // mesh.size) * mesh.size

    @property
    def padded(self) -> Int[np.ndarray, "padded"]:
        """The images in the order in which they are encoded; the last batch is filled up with the first image."""
        return np.concatenate([self.images, np.full(-len(self.images) % self.batch_size, self.images[0])])

    def position(self, images: Int[np.ndarray, "some"]) -> Int[np.ndarray, "some"]:
        """Finds some of the images in `images`."""
        found = np.searchsorted(self.images, images)
        absent = self.images.take(found, mode="clip") != images
        if absent.any():
            raise ValueError(f"rows of the data set that are not encoded: {images[absent][:5].tolist()}")
        return found

    def of(self, images: Int[np.ndarray, "some"]) -> Int[np.ndarray, "some"]:
        """Finds the row of the arrays for each of some of the images."""
        batch, place = np.divmod(self.position(images), self.batch_size)
        share = self.batch_size // self.mesh.size
        device, local = np.divmod(place, share)
        batches = -(-len(self.images) // self.batch_size)
        return (device * batches + batch) * share + local


class DeviceEncoder:
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

    def zeros(self, variables: Variables, images: jax.Array, rows: int, mesh: Mesh) -> Any:
        """Makes the arrays for the results of so many images like these; a list to be joined would hold them twice."""
        one = jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)
        leaves, tree = jax.tree.flatten(jax.eval_shape(self._encode, variables, one))
        shapes = tuple(((rows, *leaf.shape[1:]), leaf.dtype) for leaf in leaves)
        return jax.tree.unflatten(tree, _zeros(shapes, NamedSharding(mesh, P(AXIS))))

    def into(self, variables: Variables, kept: Any, images: jax.Array, batch: int, mesh: Mesh) -> Any:
        """Writes the results of a batch of images into `kept`, whose memory it takes over."""
        return self._into(variables, kept, images, np.int32(batch), mesh=mesh)


def encode_images(
    images: EncodedImages,
    names: Sequence[str],
    rows: DeviceRows,
    encoders: Mapping[str, tuple[DeviceEncoder, Variables]],
    *,
    threads: int,
    should_stop: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Reads every image once, and makes of it what each encoder does with its variables.

    Args:
      images: of the data set.
      names: of the images, for errors.
      rows: which images are encoded, and where they lie.
      encoders: each with its variables, by name.
      threads: that read and decode.
      should_stop: asked after every batch.

    Returns:
      By encoder a tree of arrays [padded, ...], rows over the devices.

    Raises:
      EvaluationStopped: `should_stop` said so.
    """
    hosts = jax.process_count()
    # Each host decodes its part of each batch.
    padded, share = rows.padded, rows.batch_size // hosts
    local = padded.reshape(-1, hosts, share)[:, jax.process_index()].ravel()
    decoded = image_batches(images, local, share, threads, names=names)
    batches = ({"images": batch} for batch, _ in decoded)
    kept: dict[str, Any] = {}
    with DeviceFeed(batches, rows.mesh) as feed:
        for number, batch in enumerate(feed):
            pixels = batch["images"]
            for name, (encoder, variables) in encoders.items():
                if name not in kept:
                    kept[name] = encoder.zeros(variables, pixels, len(padded), rows.mesh)
                kept[name] = encoder.into(variables, kept[name], pixels, number, rows.mesh)
            stop_if_asked(should_stop)
    return kept


@functools.partial(jax.jit, static_argnames=("shapes", "sharding"))
def _zeros(shapes: tuple[tuple[tuple[int, ...], Any], ...], sharding: NamedSharding) -> list[jax.Array]:
    return [jax.lax.with_sharding_constraint(jnp.zeros(*shape), sharding) for shape in shapes]
