"""From an image to a unit embedding: tower, aggregation and, where wanted, projection and centring."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from vigor_jax.errors import UserError
from vigor_jax.models.descriptor import Centring, unit_norm
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.variables import Variables
from vigor_jax.models.vgg import max_pool_2x2


class Embedder(nn.Module):
    """Embeds images of one kind: uint8 RGB [B, H, W, 3] -> [B, D] float32 of unit length.

    An image becomes a descriptor (`describe`: tower and aggregation) and that an embedding (`embed`: projection,
    centring, unit norm). The parts are modules that the caller makes, so that two embedders may share one, and that
    each has the name and the parameters of the module that made it: in a model of two views `aerial_tower`, on its own
    `tower`, `aggregation`, `projection` and `centring`.

    Attributes:
      tower: a backbone, (images, train=...) -> maps, of which the last is aggregated; of `towers.tower`.
      aggregation: (map, train=...) -> descriptors; of `aggregations.aggregation`.
      projection: a linear layer that embeddings begin with.
      centring: subtracts the mean unit descriptor before the embedding is normalised.
      preprocessing: a name of `preprocessing.PREPROCESSINGS`.
      pool: the map by 2x2 before it is aggregated; see `towers.is_pooled`.
      remat: keep only what the tower begins with and compute the rest again in the backward pass, unless the tower
        does so stage by stage itself (a VGG's own `remat`).
    """

    tower: nn.Module
    aggregation: nn.Module
    projection: nn.Module | None = None
    centring: Centring | None = None
    preprocessing: str = "torchvision"
    pool: bool = False
    remat: bool = False

    def __call__(
        self, images: UInt8[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch dim"]:
        """Embeds images; initialises every parameter."""
        return self.embed(self.describe(images, train=train), train=train)

    def describe(
        self, images: UInt8[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch described"]:
        """Makes descriptors of images, as aggregated: not projected, centred or normalised."""

        def last_map(tower: nn.Module, images: Array) -> Array:
            return tower(images, train=train)[-1]

        if self.remat and not getattr(self.tower, "remat", False):
            last_map = nn.remat(last_map)
        features = last_map(self.tower, preprocess(images, self.preprocessing))
        return self.aggregation(max_pool_2x2(features) if self.pool else features, train=train)

    def embed(
        self, descriptor: Float[Array | np.ndarray, "batch described"], *, train: bool = False
    ) -> Float[Array, "batch dim"]:
        """Makes unit embeddings of descriptors; in training, centring sees all rows of the global batch."""
        if self.projection is not None:
            descriptor = self.projection(descriptor)
        if self.centring is not None:
            # Of unit length first: the mean then moves with what the tower sees, not with the growth of its weights.
            descriptor = self.centring(unit_norm(descriptor), train=train)
        return unit_norm(descriptor)


def with_tower_weights(variables: Variables, weights: Variables) -> Variables:
    """Starts every tower from the weights of one backbone, as VIGOR's authors do; everything else stays.

    Args:
      variables: freshly initialised, of an `Embedder` (`tower`) or of a model of several (`..._tower`).
      weights: the variables of the whole backbone, for example from `pretrained.loading.load`. Layers behind the map
        that the towers end with are left out.

    Raises:
      UserError: the towers have other shapes than the weights, because their width is not 1.
    """
    ours = traverse_util.flatten_dict(variables)
    theirs = traverse_util.flatten_dict(weights)
    started = {}
    for path, fresh in ours.items():
        collection, module, *rest = path
        if module != "tower" and not module.endswith("_tower"):
            continue
        array = theirs[(collection, *rest)]
        if jnp.shape(fresh) != jnp.shape(array):
            raise UserError(
                f"pretrained weights fit towers of full width: {'/'.join(rest)} has {jnp.shape(array)[-1]} channels "
                f"there, {jnp.shape(fresh)[-1]} in the model. Set config.model.width=1, or leave "
                "config.model.pretrained empty."
            )
        # A copy for each tower: donated buffers may not be shared.
        started[path] = jnp.array(array)
    return traverse_util.unflatten_dict(ours | started)
