"""Any registered backbone as a tower: one map of it, and how large that is."""

from typing import Any

import flax.linen as nn

from vigor_jax.errors import UserError
from vigor_jax.models import registry
from vigor_jax.models.convnext import ConvNeXt
from vigor_jax.models.vgg import VGG
from vigor_jax.models.vit import ViT

_POOLED = 16  # pixels, the coarsest stride that the pool before SAFA makes twice as coarse


def tower(
    name: str,
    *,
    stride: int = 0,
    width: float = 1.0,
    dtype: Any,
    remat: bool = False,
    axis_name: str | None = None,
    norm_momentum: float | None = None,
) -> nn.Module:
    """A backbone up to the map of a stride, which is the last that it makes.

    Args:
      name: of the registry.
      stride: of the map; 0 for the backbone's last.
      width: multiplies every channel count of a VGG. The other families have their widths in their names.
      dtype: of the computation.
      remat: of a VGG; see there.
      axis_name: as of `registry.trainable`.
      norm_momentum: likewise.

    Raises:
      UnknownBackboneError: no backbone has this name.
      NoBatchNormalisationError: a momentum for a backbone that has no running statistics.
      UserError: a width for another backbone than a VGG, or a stride that no map of the backbone has.
    """
    whole = _described(name)
    options: dict[str, Any] = {}
    if has_width(name):
        options |= {"width": width, "remat": remat}
    elif width != 1:
        raise UserError(f"only VGG can be made at another width; {name} has the width that its name says.")
    if len(whole.strides) > 1:
        options["maps"] = whole.strides.index(map_stride(name, stride)) + 1
    return registry.trainable(name, dtype=dtype, axis_name=axis_name, norm_momentum=norm_momentum, **options)


def has_width(name: str) -> bool:
    """Whether the backbone of that name can be made at any width: VGG."""
    return isinstance(_described(name), VGG)


def map_stride(name: str, stride: int = 0) -> int:
    """Pixels of the image from one position of a tower's map to the next.

    Args:
      name: of the registry.
      stride: wanted; 0 for that of the backbone's last map.

    Raises:
      UnknownBackboneError: no backbone has this name.
      UserError: no map has this stride.
    """
    strides = _described(name).strides
    if stride and stride not in strides:
        raise UserError(f"{name} has maps of strides {', '.join(map(str, strides))}, or 0 for the last.")
    return stride or strides[-1]


def is_pooled(stride: int, final_pool: bool) -> bool:
    """Whether the 2x2 pool comes between a map and SAFA: coarser maps than VGG's it would leave too few positions."""
    return final_pool and stride <= _POOLED


def positions(name: str, stride: int, size: tuple[int, int], *, final_pool: bool = False) -> tuple[int, int]:
    """(rows, columns) of a tower's map of an image of `size` (height, width) in pixels.

    Args:
      name: of the registry.
      stride: as of `tower`.
      size: of the image.
      final_pool: after the pool before SAFA.

    Raises:
      UnknownBackboneError: no backbone has this name.
      UserError: no map has this stride, or the backbone would leave the image's margin out.
    """
    step = map_stride(name, stride)
    if isinstance(_described(name), ViT | ConvNeXt) and any(side % step for side in size):
        whole = tuple(-(-side // step) * step for side in size)
        raise UserError(
            f"{name} divides images into whole patches and sees nothing beyond them, so both sides must be multiples "
            f"of {step} pixels, such as {whole}."
        )
    rows, columns = (-(-side // step) for side in size)
    return (-(-rows // 2), -(-columns // 2)) if is_pooled(step, final_pool) else (rows, columns)


def _described(name: str) -> nn.Module:
    """The backbone with what it says of itself, of no model even where a model's method asks."""
    return registry.backbone(name, parent=None)
