"""How many operations a training step takes, counted from the shapes of its layers."""

import dataclasses
from typing import Literal

from vigor_jax.models.vgg import CONVOLUTIONS, scaled

_CHANNELS = (64, 128, 256, 512, 512)
_TAPS = 9


@dataclasses.dataclass(frozen=True)
class Layer:
    """A 3x3 convolution that keeps its input's height and width."""

    name: str
    height: int
    width: int
    channels_in: int
    channels_out: int

    @property
    def multiply_adds(self) -> int:
        """Of one image's forward pass, as if the border were not padded with zeros."""
        return _TAPS * self.channels_in * self.channels_out * self.height * self.width


def vgg_layers(configuration: Literal["A", "D"], width: float, height: int, columns: int) -> list[Layer]:
    """The convolutions of an image of height x columns pixels.

    Args:
      configuration: of the VGG paper's table 1: "A" is VGG-11, "D" is VGG-16.
      width: multiplies every channel count.
      height: of the image in pixels.
      columns: its width in pixels.
    """
    found: list[Layer] = []
    for stage, count in enumerate(CONVOLUTIONS[configuration], 1):
        if stage > 1:
            height, columns = -(-height // 2), -(-columns // 2)
        for i in range(1, count + 1):
            inward = found[-1].channels_out if found else 3
            outward = scaled(_CHANNELS[stage - 1], width)
            found.append(Layer(f"conv{stage}_{i}", height, columns, inward, outward))
    return found


def vgg_multiply_adds(configuration: Literal["A", "D"], width: float, height: int, columns: int) -> int:
    """Of one image's forward pass to the last convolution: 31.3 G for VGG-16 at 320 x 320."""
    return sum(layer.multiply_adds for layer in vgg_layers(configuration, width, height, columns))


def hybrid_step_flop(configuration: Literal["A", "D"], width: float, image: int, batch: int) -> int:
    """Floating-point operations of a hybrid step: some 751 G an example for VGG-16 at 320 px.

    An example is a panorama of twice the width of a tile, and two tiles. A multiply-add is two operations, and the
    backward pass takes twice the forward's. The towers alone are counted, and their first layer's input gradient as if
    it were computed; what is left out and what is counted too much are both below 1 %.
    """
    tile = vgg_multiply_adds(configuration, width, image, image)
    panorama = vgg_multiply_adds(configuration, width, image, 2 * image)
    return 2 * 3 * batch * (panorama + 2 * tile)
