"""How many operations a training step takes, counted from the shapes of its layers."""

from typing import Literal

from vigor_jax.models.vgg import CONVOLUTIONS, scaled

_CHANNELS = (64, 128, 256, 512, 512)
_TAPS = 9


def vgg_multiply_adds(configuration: Literal["A", "D"], width: float, height: int, columns: int) -> int:
    """Of one image's forward pass to the last convolution: 31.3 G for VGG-16 at 320 x 320.

    As if the borders were not padded with zeros.

    Args:
      configuration: of the VGG paper's table 1: "A" is VGG-11, "D" is VGG-16.
      width: multiplies every channel count.
      height: of the image in pixels.
      columns: its width in pixels.
    """
    total, inward = 0, 3
    for stage, count in enumerate(CONVOLUTIONS[configuration]):
        if stage:
            height, columns = -(-height // 2), -(-columns // 2)
        outward = scaled(_CHANNELS[stage], width)
        total += _TAPS * (inward + (count - 1) * outward) * outward * height * columns
        inward = outward
    return total


def hybrid_step_flop(configuration: Literal["A", "D"], width: float, image: int, batch: int) -> int:
    """Floating-point operations of a hybrid step: some 751 G an example for VGG-16 at 320 px.

    An example is a panorama of twice the width of a tile, and two tiles. A multiply-add is two operations, and the
    backward pass takes twice the forward's. The towers alone are counted, and their first layer's input gradient as if
    it were computed; what is left out and what is counted too much are both below 1 %.
    """
    tile = vgg_multiply_adds(configuration, width, image, image)
    panorama = vgg_multiply_adds(configuration, width, image, 2 * image)
    return 2 * 3 * batch * (panorama + 2 * tile)
