"""Fixtures with the names that files of transformers' models have, which are not always those of its modules.

transformers renames, joins and splits arrays when it reads a file, and undoes that when it writes one.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from tests.models.parity.drawn_numbers import draw, draw_image
from tests.models.parity.fixture import Fixture, outline


@torch.no_grad()
def make_fixture_of_file(
    model: PreTrainedModel,
    config: Mapping[str, Any],
    image_shape: tuple[int, int, int, int],
    run: Callable[[PreTrainedModel, torch.Tensor], Mapping[str, torch.Tensor]],
    unused: tuple[str, ...] = (),
) -> Fixture:
    """Saves a model, fills the file with drawn numbers, reads it back and runs it.

    Args:
      model: a fresh one.
      config: whatever `model` was built from, to be read by the test.
      image_shape: [B, H, W, 3].
      run: (model in evaluation mode, image [B, 3, H, W]) -> outputs by name, channels last.
      unused: names of arrays that files have and our models do not; they are listed among the counters.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = Path(folder, "model.safetensors")
        shapes = {name: tuple(tensor.shape) for name, tensor in load_file(path).items()}
        drawn = {name: torch.from_numpy(draw(name, shape)) for name, shape in shapes.items()}
        save_file(drawn, path, metadata={"format": "pt"})
        filled = type(model).from_pretrained(folder).eval()
    image = torch.from_numpy(np.ascontiguousarray(draw_image(image_shape).transpose(0, 3, 1, 2)))
    outlines = {name: outline(tensor.numpy()) for name, tensor in run(filled, image).items()}
    counters = {name: shapes.pop(name) for name in unused}
    return Fixture(dict(config), image_shape, shapes, counters, outlines)
