"""Embeddings of the middle of images of any size, made once for an evaluation and kept on the host."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, UInt8

from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.labelled_batches import centre_crops
from vigor_jax.input.sampling import host_rows
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS


class EmbeddedImages:
    """What a network makes of images; compiled once."""

    def __init__(
        self,
        embed: Callable[[Variables, UInt8[Array, "batch height width 3"]], Float[Array, "batch dim"]],
        data: LabelledImages,
        *,
        crop: int,
        scale: int,
        batch_size: int,
        threads: int,
    ):
        """Compiles nothing yet.

        Args:
          embed: of variables and images.
          data: of the images.
          crop: pixels, side of the middle that is cut.
          scale: of the shorter side before cutting.
          batch_size: images at a time, over all devices; rounded up to a multiple of them.
          threads: that read and decode.
        """
        self._data, self._crop, self._scale, self._batch_size, self._threads = data, crop, scale, batch_size, threads

        @functools.partial(jax.jit, static_argnames="mesh")
        def everywhere(variables: Variables, images: Array, *, mesh: Mesh) -> Array:
            @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P())
            def program(variables: Variables, images: Array) -> Array:
                return jax.lax.all_gather(embed(variables, images), AXIS, tiled=True, to="invarying")

            return program(variables, images)

        self._everywhere = everywhere

    def __call__(
        self,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Float[np.ndarray, "images dim"]:
        """Embeddings of the images of some rows, in their order and on every host the same.

        Args:
          variables: of the network, replicated over the mesh.
          rows: of the data set.
          mesh: whose devices compute.
          should_stop: asked after every batch.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        batch_size = -(-self._batch_size // mesh.size) * mesh.size
        batches = centre_crops(
            self._data,
            rows,
            crop=self._crop,
            scale=self._scale,
            batch_size=batch_size,
            host_rows=host_rows(batch_size, jax.process_index(), jax.process_count()),
            threads=self._threads,
        )
        found = []
        with DeviceFeed(({"image": batch["image"]} for batch in batches), mesh) as feed:
            for batch in feed:
                found.append(self._everywhere(variables, batch["image"], mesh=mesh))
                stop_if_asked(should_stop)
        return np.concatenate([np.asarray(part) for part in found])[: len(rows)]
