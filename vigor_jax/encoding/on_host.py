"""What a function of a model makes of many images, computed over the devices and brought to the host."""

import functools
from collections.abc import Callable, Generator

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.labelled_batches import Batch
from vigor_jax.input.sampling import host_rows
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS

# `read(rows, batch_size=..., host_rows=...)`: this host's part of batches of `image` and `row`, each of `rows` of the
# data set once and in any order, as the functions for evaluation of `input.labelled_batches` give them.
Read = Callable[..., Generator[Batch, None, None]]


class HostEncoder:
    """A function of images, such as their embeddings, over many images; one program for each shape of batch."""

    def __init__(self, encode: Callable[[Variables, Array], Float[Array, "batch dim"]]):
        """Compiles nothing yet.

        Args:
          encode: of the model's variables and a device's images, uint8 [batch, (views,) height, width, 3], to a row
            for each image.
        """

        @functools.partial(jax.jit, static_argnames="mesh")
        def everywhere(variables: Variables, images: Array, rows: Array, *, mesh: Mesh) -> tuple[Array, Array]:
            @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P())
            def program(variables: Variables, images: Array, rows: Array) -> tuple[Array, Array]:
                encoded = encode(variables, images)
                return tuple(jax.lax.all_gather(x, AXIS, tiled=True, to="invarying") for x in (encoded, rows))

            return program(variables, images, rows)

        self._everywhere = everywhere

    def __call__(
        self,
        variables: Variables,
        read: Read,
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        *,
        batch_size: int,
        should_stop: Callable[[], bool] = never,
    ) -> Float[np.ndarray, "images dim"]:
        """What is made of the images of some rows, at least one, in their order and on every host the same.

        Args:
          variables: replicated over the mesh.
          read: gives the images.
          rows: of the data set, all different.
          mesh: whose devices compute.
          batch_size: images at a time, over all devices; rounded up to a multiple of them.
          should_stop: asked after every batch.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        batch_size = -(-batch_size // mesh.size) * mesh.size
        mine = host_rows(batch_size, jax.process_index(), jax.process_count())
        place = {row: i for i, row in enumerate(rows.tolist())}
        found: np.ndarray | None = None

        def keep(encoded: jax.Array, of: jax.Array) -> None:
            nonlocal found
            encoded, of = np.asarray(encoded), np.asarray(of)
            if found is None:
                found = np.empty((len(rows), *encoded.shape[1:]), encoded.dtype)
            # Each is awaited once, so that what was not read is known in the end.
            found[[place.pop(row) for row in of[of >= 0].tolist()]] = encoded[of >= 0]

        in_flight: tuple[jax.Array, jax.Array] | None = None
        with DeviceFeed(read(rows, batch_size=batch_size, host_rows=mine), mesh) as feed:
            for batch in feed:
                # What the devices are at is waited for once they have more to do.
                given = self._everywhere(variables, batch["image"], batch["row"], mesh=mesh)
                if in_flight is not None:
                    keep(*in_flight)
                in_flight = given
                stop_if_asked(should_stop)
        if in_flight is not None:
            keep(*in_flight)
        if found is None or place:
            raise ValueError(f"the batches lack the images of {len(place)} of {len(rows)} rows: {list(place)[:5]}")
        return found
