"""Class probabilities of whole splits: what every way of testing a classifier comes down to.

A `TestingProtocol` is such a way. It gives a row of probabilities to every image, whatever it makes of the image to get
there: one crop, many, several scales, the mirror image.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Float32, Int, UInt8

from vigor_jax.encoding.stopping import never, stop_if_asked
from vigor_jax.input.device_feed import DeviceFeed
from vigor_jax.input.sampling import host_rows
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.variables import Variables
from vigor_jax.parallel.mesh import AXIS
from vigor_jax.tasks.task import Batch

# A way of testing a classifier: of the variables, rows of the data set, the devices and `should_stop`, to probabilities
# of the classes [images, classes], float32, in the order of the rows and on every host the same. It asks `should_stop`
# after every batch, and raises EvaluationStopped once it said so.
TestingProtocol = Callable[[Variables, np.ndarray, Mesh, Callable[[], bool]], np.ndarray]


class ClassProbabilities:
    """Softmax probabilities of batches, averaged over the views of an image; one program for each shape of batch."""

    def __init__(self, model: Classifier, preprocessing: str, *, mirror: bool = False):
        """Compiles nothing yet.

        Args:
          model: whose variables will be given.
          preprocessing: a name of `models.preprocessing`.
          mirror: average over each view and its mirror image.
        """
        turns = 2 if mirror else 1

        def of_views(
            variables: Variables, views: UInt8[Array, "views batch height width 3"]
        ) -> Float[Array, "batch classes"]:
            def of(number: Array | int) -> Array:
                view = views[number // turns]
                if mirror:
                    view = jnp.where(number % 2 == 1, view[:, :, ::-1], view)
                logits = model.apply(variables, preprocess(view, preprocessing))
                return jax.nn.softmax(jnp.asarray(logits, jnp.float32))

            if len(views) * turns == 1:
                return of(0)
            # One after the other, for together their feature maps would not fit.
            return jax.lax.map(of, jnp.arange(len(views) * turns)).mean(axis=0)

        @functools.partial(jax.jit, static_argnames="mesh")
        def everywhere(variables: Variables, images: Array, rows: Array, *, mesh: Mesh) -> tuple[Array, Array]:
            @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P())
            def program(variables: Variables, images: Array, rows: Array) -> tuple[Array, Array]:
                views = jnp.moveaxis(images, 1, 0) if images.ndim == 5 else images[None]
                mean = of_views(variables, views)
                return tuple(jax.lax.all_gather(x, AXIS, tiled=True, to="invarying") for x in (mean, rows))

            return program(variables, images, rows)

        self._everywhere = everywhere
        self._classes = model.classes

    def __call__(
        self,
        variables: Variables,
        batches: Iterator[Batch],
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Float32[np.ndarray, "images classes"]:
        """Probabilities of the images of some rows, in their order.

        Args:
          variables: of the model, replicated over the mesh.
          batches: this host's rows of `image`, uint8 [batch, (views,) height, width, 3], and `row`, of the data set and
            -1 where the batch is filled up (`input.labelled_batches`); every one of `rows` once, in any order.
          rows: of the data set.
          mesh: whose devices compute; they divide the batches.
          should_stop: asked after every batch.

        Raises:
          EvaluationStopped: `should_stop` said so.
        """
        found = np.full((len(rows), self._classes), np.nan, np.float32)
        place = {row: i for i, row in enumerate(rows.tolist())}

        def keep(probabilities: jax.Array, of: jax.Array) -> None:
            of = np.asarray(of)
            found[[place[row] for row in of[of >= 0].tolist()]] = np.asarray(probabilities)[of >= 0]

        in_flight: tuple[jax.Array, jax.Array] | None = None
        with DeviceFeed(batches, mesh) as feed:
            for batch in feed:
                # What the devices are at is waited for once they have more to do.
                given = self._everywhere(variables, batch["image"], batch["row"], mesh=mesh)
                if in_flight is not None:
                    keep(*in_flight)
                in_flight = given
                stop_if_asked(should_stop)
        if in_flight is not None:
            keep(*in_flight)
        return found


def sharded_batch(batch_size: int, mesh: Mesh) -> tuple[int, slice]:
    """(images a batch, rounded up to what the devices divide; the rows of it that this host reads)."""
    batch_size = -(-batch_size // mesh.size) * mesh.size
    return batch_size, host_rows(batch_size, jax.process_index(), jax.process_count())


def mean_of(parts: Iterable[Float32[np.ndarray, "images classes"]]) -> Float32[np.ndarray, "images classes"]:
    """The mean of several rows of probabilities for each image, one held at a time."""
    total, count = None, 0
    for part in parts:
        total, count = part.astype(np.float64) if total is None else total + part, count + 1
    return (total / count).astype(np.float32)
