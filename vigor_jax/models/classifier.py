"""A backbone, its head and the logits of classes."""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vigor_jax.errors import UserError
from vigor_jax.models import registry
from vigor_jax.models.vgg import Initialisation


class Classifier(nn.Module):
    """Logits of classes over any backbone.

    Variables lie under "backbone", "head" (where it has any) and "logits".

    Attributes:
      backbone: images -> one feature map a stage. One with a class token has a method `tokens(images, *, train)` ->
        (class token [B, C], patch map [B, h, w, C]), and both go to its head.
      head: what the backbone hands it -> [B, F].
      classes: how many.
      dropout: share of the F features that training leaves out.
    """

    backbone: nn.Module
    head: nn.Module
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch classes"]:
        """Logits, float32 whatever the backbone computes in. With `train` and dropout it needs the rng "dropout"."""
        features = self.features(images, train=train)
        features = nn.Dropout(self.dropout, deterministic=not train)(features)
        return nn.Dense(self.classes, name="logits")(features)

    def features(
        self, images: Float[Array | np.ndarray, "batch height width 3"], *, train: bool = False
    ) -> Float[Array, "batch features"]:
        """What the logits are made of: the head's outputs, float32."""
        if hasattr(self.backbone, "tokens"):
            features = self.backbone.tokens(images, train=train)
        else:
            features = self.backbone(images, train=train)[-1]
        return jnp.asarray(self.head(features, train=train), jnp.float32)


def classifier(
    name: str,
    classes: int,
    *,
    dropout: float | None = None,
    dtype: Any = jnp.float32,
    image_size: int | None = None,
    axis_name: str | None = None,
    norm_momentum: float | None = None,
    initialisation: Initialisation | None = None,
) -> Classifier:
    """The classifier over a registered backbone.

    Args:
      name: of `registry.BACKBONES`.
      classes: how many.
      dropout: before the logits, or after each of the fully connected layers before them (VGG); None is what the
        backbone's paper has.
      dtype: of the computation up to the logits.
      image_size: pixels, side of the images that it is trained on; None is the registry's. It matters to heads of fully
        connected layers alone, whose parameters it shapes. Larger images can be classified afterwards, smaller cannot.
      axis_name: of a mapped axis over which training normalises by the batch; see `registry.trainable`.
      norm_momentum: of the running statistics; likewise.
      initialisation: of VGG, whose paper has more than one; see `vgg.VGG`. The logits keep theirs.

    Raises:
      UnknownBackboneError: no backbone has this name.
      UserError: an initialisation for another backbone than VGG.
      NoBatchNormalisationError: a momentum for a backbone that has no running statistics.
    """
    entry = registry.entry(name)
    dropout = entry.dropout if dropout is None else dropout
    options = {"dtype": dtype, "axis_name": axis_name, "norm_momentum": norm_momentum}
    if initialisation is not None:
        if entry.fully_connected_stride is None:
            raise UserError(
                f"{name} has one initialisation, that of its paper. Leave initialisation out, or take a VGG."
            )
        options["initialisation"] = initialisation
    backbone = registry.trainable(name, **options)
    if entry.fully_connected_stride is None:
        head = registry.trainable_head(name, **options)
    else:
        positions = math.ceil((image_size or entry.image_size) / entry.fully_connected_stride)
        head, dropout = registry.trainable_head(name, positions=positions, dropout=dropout, **options), 0.0
    return Classifier(backbone, head, classes, dropout)
