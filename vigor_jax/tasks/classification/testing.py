"""How a classifier is tested: the centre crop of every evaluation, and what a config asks for at the end.

The ways are those of Simonyan and Zisserman (ICLR 2015, sections 3.2 and 4). Each averages the class probabilities over
the views of an image and over the scales Q of its shorter side.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32, Int

from vigor_jax.config import ConfigError
from vigor_jax.datasets.labelled_images import LabelledImages
from vigor_jax.encoding.on_host import Read
from vigor_jax.encoding.stopping import never
from vigor_jax.input import labelled_batches
from vigor_jax.models import registry
from vigor_jax.models.classifier import Classifier
from vigor_jax.models.variables import Variables
from vigor_jax.tasks.classification.config import ClassificationConfig
from vigor_jax.tasks.classification.probabilities import OverScales, TestingProtocol, mean_of


class ClassifierTesting:
    """The ways of testing that a config names.

    Attributes:
      centre_crop: a `TestingProtocol`, the middle of each image at every scale.
      names_at_end: of the ways beyond it, in the order of `at_end`.
    """

    def __init__(self, config: ClassificationConfig, model: Classifier, preprocessing: str, data: LabelledImages):
        """Compiles nothing yet.

        Args:
          config: with the groups `images` and `classifier`.
          model: of the variables.
          preprocessing: a name of `models.preprocessing`.
          data: of the rows.

        Raises:
          ConfigError: the backbone is none for whole images.
        """
        chosen, crop = config.classifier, config.images.crop
        asked, batch_size = chosen.test_protocol, config.eval_batch_size
        if "dense" in asked and not registry.entry(chosen.backbone).slides:
            raise ConfigError(
                f"config.classifier.test_protocol = {asked!r}: {chosen.backbone} is made for images of one size, and "
                "whole images have many. Use 'multi_crop', or a backbone of convolutions."
            )

        # Where training exchanged left and right in no image, they may tell classes apart.
        mirror = config.images.mirror

        def way(views: Read, images_at_a_time: Callable[[int], int], *, mirror: bool) -> TestingProtocol:
            views = functools.partial(views, data, threads=config.input_threads)
            return OverScales(model, preprocessing, views, chosen.test_scales, images_at_a_time, mirror=mirror)

        crops = functools.partial(labelled_batches.centre_crops, crop=crop)
        grid = functools.partial(labelled_batches.grid_crops, crop=crop, per_side=chosen.crops_per_side)
        self.centre_crop = way(crops, lambda scale: batch_size, mirror=False)
        self._asked, self._parts = asked, dict[str, TestingProtocol]()
        if "dense" in asked:
            # Of so many pixels as a batch of crops, for memory is what limits that.
            self._parts["dense"] = way(
                labelled_batches.whole_images, lambda scale: max(1, batch_size * crop**2 // scale**2), mirror=mirror
            )
        if "multi_crop" in asked:
            self._parts["multi_crop"] = way(grid, lambda scale: batch_size, mirror=mirror)
        self.names_at_end = (*self._parts, *([asked] if len(self._parts) > 1 else []))

    def at_end(
        self,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Iterator[tuple[str, Float32[np.ndarray, "images classes"]]]:
        """(name, probabilities) of all ways beyond the centre crop, that which the config names last.

        Arguments and errors as of a `TestingProtocol`.
        """
        found: list[Float32[np.ndarray, "images classes"]] = []
        for name, protocol in self._parts.items():
            found.append(protocol(variables, rows, mesh, should_stop))
            yield name, found[-1]
        if len(found) > 1:
            yield self._asked, mean_of(found)

    def __call__(
        self,
        variables: Variables,
        rows: Int[np.ndarray, "images"],
        mesh: Mesh,
        should_stop: Callable[[], bool] = never,
    ) -> Float32[np.ndarray, "images classes"]:
        """A `TestingProtocol`: that which the config names."""
        if not self._parts:
            return self.centre_crop(variables, rows, mesh, should_stop)
        *_, (_, asked) = self.at_end(variables, rows, mesh, should_stop)
        return asked
