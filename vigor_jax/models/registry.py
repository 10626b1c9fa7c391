"""Backbones by name, a line each."""

import dataclasses
import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from vigor_jax.errors import UserError
from vigor_jax.models import convnext, efficientnet, swin, vgg, vit
from vigor_jax.models.convnext import ConvNeXt, ConvNeXtHead
from vigor_jax.models.efficientnet import EfficientNet, EfficientNetHead
from vigor_jax.models.mobilenet import MobileNet, MobileNetHead
from vigor_jax.models.resnet import DEPTHS, ResNet, ResNetHead
from vigor_jax.models.swin import Swin, SwinHead
from vigor_jax.models.vgg import VGG, VGGHead
from vigor_jax.models.vit import ViT, ViTHead


class UnknownBackboneError(UserError):
    """A name that no backbone has; the message has those that come near."""


class NoBatchNormalisationError(UserError):
    """A momentum for running statistics that a backbone does not have."""


@dataclasses.dataclass(frozen=True)
class BackboneEntry:
    """A backbone and what goes with it.

    Attributes:
      make: `make(dtype=..., **options)`, the module: images [B, H, W, 3] -> feature maps, finest first. The options
        are the module's own attributes (`axis_name` ...).
      head: `head(dtype=...)`, the module between the last map and the logits.
      image_size: pixels, side of the square images that the paper or the published weights have.
      preprocessing: name of the pixel statistics that the published weights expect.
      dropout: before the logits, in training; of all its layers where the head is of fully connected ones.
      fully_connected_stride: None, or of a head of fully connected layers (VGG's), which fits one size of images and
        drops out by itself: pixels of the image from one of the positions that it covers to the next. It is made as
        `head(positions=..., dropout=..., dtype=...)`, with the side of the map that it covers.
      slides: whether it sees any place of a larger image as it sees the images that it was trained on. Convolutions
        do; learnt positions, and windows that a map of one size divides into, do not.
    """

    make: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    image_size: int
    preprocessing: str
    dropout: float = 0.0
    fully_connected_stride: int | None = None
    slides: bool = True

    @property
    def normalises_by_batch(self) -> bool:
        """Whether training sees the other images of the batch, by batch normalisation, and keeps running statistics."""
        return _has_statistics(self.make)


def _has_statistics(make: Callable[..., nn.Module]) -> bool:
    module = make.func if isinstance(make, partial) else make
    return "axis_name" in module.__dataclass_fields__


def _efficientnet(scaling: efficientnet.Scaling) -> BackboneEntry:
    return BackboneEntry(
        partial(EfficientNet, width=scaling.width, depth=scaling.depth),
        partial(EfficientNetHead, width=scaling.width),
        scaling.image_size,
        "torchvision",
        scaling.dropout,
    )


def _convnext(size: convnext.Size) -> BackboneEntry:
    make = partial(ConvNeXt, size.depths, size.channels, stochastic_depth=size.stochastic_depth)
    return BackboneEntry(make, ConvNeXtHead, 224, "torchvision")


def _swin(size: swin.Size) -> BackboneEntry:
    # At the larger size the same number of windows makes up the map.
    return BackboneEntry(
        partial(Swin, **dataclasses.asdict(size)), SwinHead, size.window * 32, "torchvision", slides=False
    )


def _vgg(configuration: vgg.Configuration) -> BackboneEntry:
    return BackboneEntry(
        partial(VGG, configuration), VGGHead, 224, "torchvision", dropout=0.5, fully_connected_stride=32
    )


def _vit(size: vit.Size) -> BackboneEntry:
    # Layer scale tells DINOv2's from the plain ViT, whose weights have other statistics and another head.
    head = partial(ViTHead, patch_mean=size.layer_scale)
    make = partial(ViT, **dataclasses.asdict(size))
    return BackboneEntry(make, head, 224, "torchvision" if size.layer_scale else "tf", slides=False)


BACKBONES: dict[str, BackboneEntry] = {
    "mobilenet_1.0": BackboneEntry(partial(MobileNet, width=1.0), MobileNetHead, 224, "tf", 0.001),
    "mobilenet_0.75": BackboneEntry(partial(MobileNet, width=0.75), MobileNetHead, 224, "tf", 0.001),
    "mobilenet_0.5": BackboneEntry(partial(MobileNet, width=0.5), MobileNetHead, 224, "tf", 0.001),
    "mobilenet_0.25": BackboneEntry(partial(MobileNet, width=0.25), MobileNetHead, 224, "tf", 0.001),
    "mobilenet_convolutional": BackboneEntry(partial(MobileNet, separable=False), MobileNetHead, 224, "tf", 0.001),
    "mobilenet_shallow": BackboneEntry(partial(MobileNet, shallow=True), MobileNetHead, 224, "tf", 0.001),
    **{name: _vgg(configuration) for name, configuration in vgg.NAMES.items()},
    **{name: BackboneEntry(partial(ResNet, depths), ResNetHead, 224, "torchvision") for name, depths in DEPTHS.items()},
    **{name: _efficientnet(scaling) for name, scaling in efficientnet.SCALINGS.items()},
    **{name: _convnext(size) for name, size in convnext.SIZES.items()},
    **{name: _swin(size) for name, size in swin.SIZES.items()},
    **{name: _vit(size) for name, size in vit.SIZES.items()},
}


def entry(name: str) -> BackboneEntry:
    """The line of a backbone.

    Raises:
      UnknownBackboneError: no backbone has this name.
    """
    if name not in BACKBONES:
        near = difflib.get_close_matches(name, BACKBONES, n=3)
        meant = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(BACKBONES)}."
        raise UnknownBackboneError(f"there is no backbone {name!r}. {meant}")
    return BACKBONES[name]


def backbone(name: str, **options: Any) -> nn.Module:
    """The backbone of that name, with the attributes given (`dtype`, `axis_name` ...).

    Raises:
      UnknownBackboneError: no backbone has this name.
    """
    return entry(name).make(**options)


def trainable(
    name: str, *, dtype: Any, axis_name: str | None, norm_momentum: float | None = None, **options: Any
) -> nn.Module:
    """The backbone of that name as a mapped training step needs it.

    Args:
      name: of the registry.
      dtype: of the computation.
      axis_name: the mapped axis, over which batch normalisation takes its statistics; backbones without it ignore it.
      norm_momentum: of the running statistics of batch normalisation; None is what the backbone's paper has. Its
        millions of steps allow the statistics to lag; short runs need 0.9 or so.
      options: further attributes of the module.

    Raises:
      UnknownBackboneError: no backbone has this name.
      NoBatchNormalisationError: a momentum for a backbone that has no running statistics.
    """
    return _trainable(name, entry(name).make, axis_name, norm_momentum, dtype=dtype, **options)


def trainable_head(
    name: str, *, dtype: Any, axis_name: str | None, norm_momentum: float | None = None, **options: Any
) -> nn.Module:
    """The head of a backbone as a mapped training step needs it; arguments and errors as of `trainable`."""
    head = entry(name).head
    momentum = norm_momentum if _has_statistics(head) else None
    return _trainable(name, head, axis_name, momentum, dtype=dtype, **options)


def _trainable(
    name: str, make: Callable[..., nn.Module], axis_name: str | None, norm_momentum: float | None, **options: Any
) -> nn.Module:
    if _has_statistics(make):
        options["axis_name"] = axis_name
        if norm_momentum is not None:
            options["momentum"] = norm_momentum
    elif norm_momentum is not None:
        raise NoBatchNormalisationError(
            f"{name} has no batch normalisation, so there are no running statistics for a momentum of {norm_momentum}. "
            "Leave the momentum out."
        )
    return make(**options)
