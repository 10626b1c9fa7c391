"""The side of the fixtures that needs PyTorch: filling an implementation with drawn numbers and running it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from tests.models.parity.drawn_numbers import draw, draw_image
from tests.models.parity.fixture import Fixture, outline


@torch.no_grad()
def make_fixture(
    module: torch.nn.Module,
    config: Mapping[str, Any],
    image_shape: tuple[int, int, int, int],
    run: Callable[[torch.nn.Module, torch.Tensor], Mapping[str, torch.Tensor]],
) -> Fixture:
    """Fills a module, runs it and outlines what comes out.

    Args:
      module: a fresh implementation; every float parameter and buffer of it is replaced.
      config: whatever `module` was built from, to be read by the test.
      image_shape: [B, H, W, 3].
      run: (module in evaluation mode, image [B, 3, H, W]) -> outputs by name; maps [B, C, H, W] and all others as
        they are.
    """
    shapes, counters = {}, {}
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            shapes[name] = tuple(tensor.shape)
            tensor.copy_(torch.from_numpy(draw(name, tensor.shape)))
        else:
            counters[name] = tuple(tensor.shape)
    image = torch.from_numpy(np.ascontiguousarray(draw_image(image_shape).transpose(0, 3, 1, 2)))
    outputs = run(module.float().eval(), image)
    outlines = {name: outline(_channels_last(tensor.numpy())) for name, tensor in outputs.items()}
    return Fixture(dict(config), image_shape, shapes, counters, outlines)


def _channels_last(output: np.ndarray) -> np.ndarray:
    return output.transpose(0, 2, 3, 1) if output.ndim == 4 else output
