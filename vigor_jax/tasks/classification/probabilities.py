"""Class probabilities of whole splits: what every way of testing a classifier comes down to.

A `TestingProtocol` is such a way. It gives a row of probabilities to every image, whatever it makes of the image to get
there: one crop, many, several scales, the mirror image.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int, UInt8

from vigor_jax.encoding.on_host import HostEncoder, Read
from vigor_jax.encoding.stopping import never
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.variables import Variables

# A way of testing a classifier: of the variables, rows of the data set, the devices and `should_stop`, to probabilities
# of the classes [images, classes], float32, in the order of the rows and on every host the same. It asks `should_stop`
# after every batch, and raises EvaluationStopped once it said so.
TestingProtocol = Callable[[Variables, np.ndarray, Mesh, Callable[[], bool]], np.ndarray]


class OverScales:
    """The mean over the views of each image, and over several scales of its shorter side; a `TestingProtocol`."""

    def __init__(
        self,
        model: Classifier,
        preprocessing: str,
        views: Read,
        scales: Sequence[int],
        images_at_a_time: Callable[[int], int],
        *,
        mirror: bool,
    ):
        """Compiles nothing yet.

        Args:
          model: of the variables.
          preprocessing: a name of `models.preprocessing`.
          views: of the images, once it is told their `scale`.
          scales: Q.
          images_at_a_time: of a scale, over all devices.
          mirror: average over each view and its mirror image.
        """
        self._encoder = HostEncoder(mean_over_views(model, preprocessing, mirror=mirror))
        self._views, self._scales, self._images_at_a_time = views, scales, images_at_a_time

    def __call__(
        self,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Float32[np.ndarray, "images classes"]:
        """As every `TestingProtocol`."""

        def at(scale: int) -> Float32[np.ndarray, "images classes"]:
            return self._encoder(
                variables,
                functools.partial(self._views, scale=scale),
                rows,
                mesh,
                batch_size=self._images_at_a_time(scale),
                should_stop=should_stop,
            )

        return mean_of(map(at, self._scales))


def mean_over_views(
    model: Classifier, preprocessing: str, *, mirror: bool
) -> Callable[[Variables, UInt8[Array, "batch *views height width 3"]], Float[Array, "batch classes"]]:
    """A function of variables and images [B, (views,) H, W, 3] to softmax probabilities, averaged over the views.

    Args:
      model: of the variables.
      preprocessing: a name of `models.preprocessing`.
      mirror: average over each view and its mirror image.
    """
    turns = 2 if mirror else 1

    def probabilities(
        variables: Variables, images: UInt8[Array, "batch *views height width 3"]
    ) -> Float[Array, "batch classes"]:
        views = jnp.moveaxis(images, 1, 0) if images.ndim == 5 else images[None]

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

    return probabilities


def mean_of(parts: Iterable[Float32[np.ndarray, "images classes"]]) -> Float32[np.ndarray, "images classes"]:
    """The mean of several rows of probabilities for each image, one held at a time."""
    total, count = None, 0
    for part in parts:
        total, count = part.astype(np.float64) if total is None else total + part, count + 1
    return (total / count).astype(np.float32)
