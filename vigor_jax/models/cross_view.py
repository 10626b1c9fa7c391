"""Two embedders, of aerial tiles and of street panoramas, whose embeddings share one space."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from vigor_jax.models.aggregations import Aggregation, aggregation
from vigor_jax.models.compass_heads import aerial_compass_heads, ground_compass_heads
from vigor_jax.models.descriptor import Centring
from vigor_jax.models.embedder import Embedder
from vigor_jax.models.micro_batches import in_micro_batches
from vigor_jax.models.offset_head import OffsetHead
from vigor_jax.models.towers import is_pooled, map_stride, tower
from vigor_jax.models.variables import Variables

View = Literal["aerial", "ground"]


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
    """Two embedders of one backbone that share no weights, or a fully connected head alone (VIGOR's two models, 2021).

    Images are uint8 RGB [B, H, W, 3] of any size; each view keeps the size it was initialised with under "safa". All
    results are float32.

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
        """Makes the parts under their names, which are those of the parameters, and hands them to two embedders."""
        self.aerial_tower, self.ground_tower = self._tower(), self._tower()
        if self.aggregation == "fully_connected":
            aerial_aggregation = ground_aggregation = self.shared_aggregation = self._aggregation()
        else:
            aerial_aggregation = self.aerial_aggregation = self._aggregation(aerial_compass_heads)
            ground_aggregation = self.ground_aggregation = self._aggregation(ground_compass_heads)
        self.aerial_projection, self.ground_projection = self._projection(), self._projection()
        self.aerial_centring, self.ground_centring = self._centring(), self._centring()
        pool = self.aggregation == "safa" and is_pooled(map_stride(self.backbone, self.stride), self.final_pool)
        how = {"preprocessing": self.preprocessing, "pool": pool, "remat": self.remat}
        self.aerial = Embedder(
            self.aerial_tower, aerial_aggregation, self.aerial_projection, self.aerial_centring, **how
        )
        self.ground = Embedder(
            self.ground_tower, ground_aggregation, self.ground_projection, self.ground_centring, **how
        )
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
        """Embeds matching rows and, with an offset head, places them; initialises every parameter.

        Semi-positive tiles go through the aerial tower together with the others.
        """
        tiles = aerial if semi_positive is None else jnp.concatenate([aerial, semi_positive])
        return self.pairs(
            self.describe(tiles, "aerial", train=train), self.describe(ground, "ground", train=train), train=train
        )

    def describe(
        self, images: UInt8[Array | np.ndarray, "batch height width 3"], view: View, *, train: bool = False
    ) -> Float[Array, "batch dim"]:
        """Makes descriptors of the images of a view, for `pairs`."""
        return self._embedder(view).describe(images, train=train)

    def pairs(
        self,
        aerial: Float[Array | np.ndarray, "tiles dim"],
        ground: Float[Array | np.ndarray, "batch dim"],
        *,
        train: bool,
    ) -> Pairs:
        """Makes what `__call__` returns of descriptors: those of the matching tiles, then of semi-positive ones."""
        count = ground.shape[0]
        tiles = self.aerial.embed(aerial, train=train)
        panoramas = self.ground.embed(ground, train=train)
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

    def encode(self, images: UInt8[Array | np.ndarray, "batch height width 3"], view: View) -> Encoded:
        """Encodes the images of a view for evaluation: by running means, nothing dropped."""
        embedder = self._embedder(view)
        descriptor = embedder.describe(images)
        embedding = embedder.embed(descriptor)
        if not self.offset_outputs:
            return Encoded(embedding, descriptor[:, :0])
        part = self.offset_head.aerial_part if view == "aerial" else self.offset_head.ground_part
        return Encoded(embedding, part(self._offset_input(descriptor, embedding)))

    def offset(
        self, aerial: Float[Array | np.ndarray, "batch hidden"], ground: Float[Array | np.ndarray, "batch hidden"]
    ) -> Float[Array, "batch outputs"]:
        """Places panoramas on tiles without their images: the offset head's outputs of `Encoded.offset_features`."""
        return self.offset_head.outputs_of(aerial, ground)

    def _embedder(self, view: View) -> Embedder:
        return {"aerial": self.aerial, "ground": self.ground}[view]

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

    def _aggregation(self, start: Callable[[int, int, int], np.ndarray] | None = None) -> nn.Module:
        return aggregation(
            self.aggregation,
            num_heads=self.num_heads,
            channels_per_head=self.channels_per_head,
            start=start if self.compass_heads else None,
            descriptor_dim=self.descriptor_dim,
            dropout=self.dropout,
            kernel_std=self.aggregation_std,
            dtype=self.dtype,
        )

    def _projection(self) -> nn.Module | None:
        return nn.Dense(self.projection_dim) if self.projection_dim else None

    def _centring(self) -> Centring | None:
        return Centring(axis_name=self.axis_name) if self.centre_descriptor else None


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
    """Embeds a training batch: its pairs, and the mutable variables after it.

    Centring, normalisation and the offset head always act on all rows. Dropout has a key of its own in each
    micro-batch and view, the same in both encodings, so its draws are others than those of the batch encoded at once.

    Args:
      variables: the same on all devices. With micro-batches, parameters under a mapped axis that vary over it
        (`jax.lax.pcast`), so that their gradients are not summed over the devices in every micro-batch.
      aerial: row i matches row i of `ground`.
      semi_positive: second tiles of the pairs.
      dropout: key; under a mapped axis the device's own.
      micro_batch_size: pairs that are encoded at a time (`micro_batches`); 0 for all of them.
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

    def describe(view: View, images: list[Array], key: jax.Array) -> Array:
        def one(images: Array, key: jax.Array) -> Array:
            rngs = {"dropout": key}
            return model.apply({"params": params}, images, view, train=True, method="describe", rngs=rngs)

        return in_micro_batches(one, images, key, micro_batch_size)

    # One view after the other, so that only one tower's encoding is kept at a time.
    tiles = describe("aerial", [aerial] if semi_positive is None else [aerial, semi_positive], aerial_key)
    panoramas = describe("ground", [ground], ground_key)
    return model.apply(variables, tiles, panoramas, method="pairs", **together)
