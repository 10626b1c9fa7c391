"""Two towers that embed aerial tiles and street panoramas in one space."""

from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from vigor_jax.errors import UserError
from vigor_jax.models.average_aggregation import AverageAggregation
from vigor_jax.models.compass_heads import aerial_compass_heads, ground_compass_heads
from vigor_jax.models.descriptor import Centring, unit_norm
from vigor_jax.models.fully_connected_aggregation import FullyConnectedAggregation
from vigor_jax.models.generalized_mean import GeneralizedMean
from vigor_jax.models.offset_head import OffsetHead
from vigor_jax.models.preprocessing import preprocess
from vigor_jax.models.spatial_aware_aggregation import SpatialAwareAggregation
from vigor_jax.models.towers import is_pooled, map_stride, tower
from vigor_jax.models.vgg import max_pool_2x2

Aggregation = Literal["safa", "gem", "average", "fully_connected"]


# Those that do not know one position from another.
_UNPLACED = {"gem": GeneralizedMean, "average": AverageAggregation}


class Pairs(NamedTuple):
    """What the model makes of a batch of panoramas with their tiles, all float32."""

    aerial: Float[Array, "batch dim"]  # unit embeddings
    ground: Float[Array, "batch dim"]
    semi_positive: Float[Array, "batch dim"] | None  # unit embeddings of the second tiles, if there were any
    offset: Float[Array, "batch outputs"] | None  # of the offset head, if there is one


class Encoded(NamedTuple):
    """What an image is searched by and, once found, placed by."""

    embedding: Float[Array, "batch dim"]  # of unit length
    offset_features: Float[Array, "batch hidden"]  # the image's part in the offset head; no columns without a head


class CrossViewModel(nn.Module):
    """Two towers of one backbone that share no weights, and an aggregation: SAFA or Siamese-VGG (VIGOR, CVPR 2021).

    Images are uint8 RGB [B, H, W, 3] of any size; each view keeps the size it was initialised with under "safa".
    The way of an image is `describe_*` (tower and aggregation -> [B, D]) and then
    `embed_*` (projection, centring, unit norm); `encode_*` is both. `encode_*_with_offset` adds the image's part in
    the offset head, so that `offset` places a panorama on whatever tiles were found for it without seeing the images
    again. All of them return float32.

    Dropout, and a backbone that leaves out blocks in training, draw from the "dropout" generator: fold the device's
    index into its key, or all devices drop the same features.

    Attributes:
      aggregation: "safa"; "gem", with a power of its own in each view; "average"; or "fully_connected" (Siamese-VGG;
        its head is shared by the towers).
      backbone: of the towers, a name of `registry.BACKBONES`.
      width: multiplies every channel count of a VGG; other backbones have their width in their name.
      stride: of the map that is aggregated; 0 for the backbone's last. What lies behind it is not made.
      num_heads: of SAFA.
      channels_per_head: of SAFA's descriptor; None for all of the tower.
      descriptor_dim: of the fully connected head; SAFA's is num_heads * (channels_per_head or the map's channels), that
        of "gem" and "average" the map's channels.
      dropout: of the fully connected head.
      centre_descriptor: subtract the mean unit descriptor and normalise again; see `Centring`.
      dtype: of the towers' computation.
      preprocessing: a name of `preprocessing.PREPROCESSINGS`.
      final_pool: the 2x2 max pool between a map of stride 16 or finer and SAFA, as published of VGG's conv5_3; coarser
        maps are never pooled. Without it SAFA sees four times the positions: finer placement, and 16 times its
        parameters, which only small images can afford (80x80: 3x3 positions with it, 5x5 without; 320x320: 10x10 and
        20x20).
      aggregation_std: of the truncated normal that the aggregation's kernels start from.
      compass_heads: each head of SAFA starts by looking in one direction, the same in both views.
      offset_outputs: of the offset head; 0 for none.
      remat: keep only what passes between the stages of a VGG, or what a tower of another backbone begins with, and
        compute the rest again in the backward pass.
      projection_dim: of a linear layer of each view, with a bias, that embeddings begin with; 0 for none.
      norm_momentum: of the running statistics of batch normalisation; None for the backbone's own.
      axis_name: of the mapped axis over which training takes the mean of centring and the statistics of batch
        normalisation; None for each device by itself.
    """

    aggregation: Aggregation
    backbone: str = "vgg16"
    width: float = 1.0
    stride: int = 0
    num_heads: int = 8
    channels_per_head: int | None = None
    descriptor_dim: int = 4096
    dropout: float = 0.2
    centre_descriptor: bool = False
    dtype: Any = jnp.float32
    preprocessing: str = "torchvision"
    final_pool: bool = True
    aggregation_std: float = 0.005
    compass_heads: bool = False
    offset_outputs: int = 0
    remat: bool = False
    projection_dim: int = 0
    norm_momentum: float | None = None
    axis_name: str | None = None

    def setup(self) -> None:
        """Two towers; an aggregation of each, or one shared fully connected one; centring; the offset head."""
        self.aerial_tower = self._tower()
        self.ground_tower = self._tower()
        if self.aggregation == "safa":
            aerial_start, ground_start = (
                (aerial_compass_heads, ground_compass_heads) if self.compass_heads else (None, None)
            )
            self.aerial_aggregation = SpatialAwareAggregation(
                self.num_heads, self.aggregation_std, self.dtype, aerial_start, self.channels_per_head
            )
            self.ground_aggregation = SpatialAwareAggregation(
                self.num_heads, self.aggregation_std, self.dtype, ground_start, self.channels_per_head
            )
        elif self.aggregation in _UNPLACED:
            self.aerial_aggregation = _UNPLACED[self.aggregation]()
            self.ground_aggregation = _UNPLACED[self.aggregation]()
        elif self.aggregation == "fully_connected":
            self.shared_aggregation = FullyConnectedAggregation(self.descriptor_dim, self.dropout, self.aggregation_std)
        else:
            raise ValueError(f"aggregation {self.aggregation!r}. Allowed: {', '.join(get_args(Aggregation))}.")
        if self.projection_dim:
            self.aerial_projection = nn.Dense(self.projection_dim)
            self.ground_projection = nn.Dense(self.projection_dim)
        if self.centre_descriptor:
            self.aerial_centring = Centring()
            self.ground_centring = Centring()
        if self.offset_outputs:
            self.offset_head = OffsetHead(self.offset_outputs, kernel_std=self.aggregation_std)

    def __call__(
        self,
        aerial: UInt8[Array | np.ndarray, "batch aerial_height aerial_width 3"],
        ground: UInt8[Array | np.ndarray, "batch ground_height ground_width 3"],
        semi_positive: UInt8[Array | np.ndarray, "batch aerial_height aerial_width 3"] | None = None,
        *,
        train: bool,
    ) -> Pairs:
        """Embeddings of matching rows and, with an offset head, the offset of each; initialises every parameter.

        Semi-positive tiles go through the aerial tower together with the others.
        """
        tiles = aerial if semi_positive is None else jnp.concatenate([aerial, semi_positive])
        tiles, panoramas = self.describe_aerial(tiles, train=train), self.describe_ground(ground, train=train)
        return self.pairs(tiles, panoramas, train=train)

    def pairs(
        self,
        aerial: Float[Array | np.ndarray, "tiles dim"],
        ground: Float[Array | np.ndarray, "batch dim"],
        *,
        train: bool,
    ) -> Pairs:
        """What `__call__` returns, from the descriptors: those of the matching tiles, then of semi-positive ones."""
        count = ground.shape[0]
        tiles = self.embed_aerial(aerial, train=train)
        panoramas = self.embed_ground(ground, train=train)
        offset = None
        if self.offset_outputs:
            aerial_input = self._offset_input(aerial[:count], tiles[:count])
            offset = self.offset_head(aerial_input, self._offset_input(ground, panoramas))
        return Pairs(
            aerial=tiles[:count],
            ground=panoramas,
            semi_positive=None if len(tiles) == count else tiles[count:],
            offset=offset,
        )

    def encode_aerial_with_offset(self, images: UInt8[Array | np.ndarray, "batch height width 3"]) -> Encoded:
        """Of aerial tiles, for evaluation."""
        descriptor = self.describe_aerial(images)
        embedding = self.embed_aerial(descriptor)
        if not self.offset_outputs:
            return Encoded(embedding, descriptor[:, :0])
        return Encoded(embedding, self.offset_head.aerial_part(self._offset_input(descriptor, embedding)))

    def encode_ground_with_offset(self, images: UInt8[Array | np.ndarray, "batch height width 3"]) -> Encoded:
        """Of street panoramas, for evaluation."""
        descriptor = self.describe_ground(images)
        embedding = self.embed_ground(descriptor)
        if not self.offset_outputs:
            return Encoded(embedding, descriptor[:, :0])
        return Encoded(embedding, self.offset_head.ground_part(self._offset_input(descriptor, embedding)))

    def offset(
        self, aerial: Float[Array | np.ndarray, "batch hidden"], ground: Float[Array | np.ndarray, "batch hidden"]
    ) -> Float[Array, "batch outputs"]:
        """The offset head's outputs for pairs of `Encoded.offset_features`."""
        return self.offset_head.outputs_of(aerial, ground)

    def encode_aerial(
        self,
        images: UInt8[Array | np.ndarray, "batch height width 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch dim"]:
        """Unit embeddings of aerial tiles."""
        return self.embed_aerial(self.describe_aerial(images, train=train), train=train)

    def encode_ground(
        self,
        images: UInt8[Array | np.ndarray, "batch height width 3"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch dim"]:
        """Unit embeddings of street panoramas."""
        return self.embed_ground(self.describe_ground(images, train=train), train=train)

    def describe_aerial(
        self, images: UInt8[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch dim"]:
        """Descriptors of aerial tiles before centring and normalisation."""
        features = self._features("aerial_tower", images, train=train)
        if self.aggregation == "fully_connected":
            return self.shared_aggregation(features, train=train)
        return self.aerial_aggregation(features)

    def describe_ground(
        self, images: UInt8[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch dim"]:
        """Descriptors of street panoramas before centring and normalisation."""
        features = self._features("ground_tower", images, train=train)
        if self.aggregation == "fully_connected":
            return self.shared_aggregation(features, train=train)
        return self.ground_aggregation(features)

    def embed_aerial(
        self,
        descriptor: Float[Array | np.ndarray, "batch described"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch dim"]:
        """Unit embeddings from the descriptors of aerial tiles."""
        if self.projection_dim:
            descriptor = self.aerial_projection(descriptor)
        if self.centre_descriptor:
            # Of unit length first: the mean then moves with what the tower sees, not with the growth of its weights.
            descriptor = self.aerial_centring(unit_norm(descriptor), train=train, axis_name=self.axis_name)
        return unit_norm(descriptor)

    def embed_ground(
        self,
        descriptor: Float[Array | np.ndarray, "batch described"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch dim"]:
        """Unit embeddings from the descriptors of street panoramas."""
        if self.projection_dim:
            descriptor = self.ground_projection(descriptor)
        if self.centre_descriptor:
            descriptor = self.ground_centring(unit_norm(descriptor), train=train, axis_name=self.axis_name)
        return unit_norm(descriptor)

    def _offset_input(
        self, descriptor: Float[Array, "batch dim"], embedding: Float[Array, "batch dim"]
    ) -> Float[Array, "batch dim"]:
        """What the offset head reads of an image: the descriptor, as published.

        Where descriptors are centred because those of random towers are nearly all alike (a thousandth of their
        length apart, and that length some thousands), it is what centring leaves of them, in numbers of the order of 1.
        """
        return embedding * embedding.shape[-1] ** 0.5 if self.centre_descriptor else descriptor

    def _tower(self) -> nn.Module:
        return tower(
            self.backbone,
            stride=self.stride,
            width=self.width,
            dtype=self.dtype,
            remat=self.remat,
            axis_name=self.axis_name,
            norm_momentum=self.norm_momentum,
        )

    def _features(
        self, tower: str, images: UInt8[Array | np.ndarray, "batch height width 3"], *, train: bool
    ) -> Float[Array, "batch rows columns channels"]:
        """The map that is aggregated."""

        def last_map(model: CrossViewModel, images: Array) -> Array:
            return getattr(model, tower)(images, train=train)[-1]

        if self.remat and not hasattr(self.aerial_tower, "remat"):
            last_map = nn.remat(last_map)
        features = last_map(self, preprocess(images, self.preprocessing))
        pooled = self.aggregation == "safa" and is_pooled(map_stride(self.backbone, self.stride), self.final_pool)
        return max_pool_2x2(features) if pooled else features


def with_tower_weights(variables: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Both towers started from the same backbone, as VIGOR's authors do; everything else stays.

    Args:
      variables: of a `CrossViewModel`, freshly initialised.
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
        if module not in ("aerial_tower", "ground_tower"):
            continue
        array = theirs[(collection, *rest)]
        if jnp.shape(fresh) != jnp.shape(array):
            raise UserError(
                f"pretrained weights fit towers of full width: {'/'.join(rest)} has {jnp.shape(array)[-1]} channels "
                f"there, {jnp.shape(fresh)[-1]} in the model. Set config.model.width=1, or leave "
                "config.model.pretrained empty."
            )
        # Two copies: donated buffers may not be shared.
        started[path] = jnp.array(array)
    return traverse_util.unflatten_dict(ours | started)
