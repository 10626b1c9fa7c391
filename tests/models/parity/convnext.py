"""transformers' ConvNeXt, of the names that Hugging Face's files have."""

import torch
from transformers import ConvNextConfig, ConvNextForImageClassification

from tests.models.parity.fixture import Fixture
from tests.models.parity.torch_side import make_fixture

SMALL = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 2, 1], "num_labels": 5}
SMALL_IMAGE = (2, 71, 99, 3)  # sides that neither the stem nor the last stage divides
TINY = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3], "num_labels": 10}


def _run(module: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    output = module(image, output_hidden_states=True)
    stages = output.hidden_states[1:]  # after the stem
    return {f"stage{i}": stage for i, stage in enumerate(stages)} | {"logits": output.logits}


def _make(config: dict, image_shape: tuple[int, int, int, int]) -> Fixture:
    module = ConvNextForImageClassification(ConvNextConfig(**config))
    return make_fixture(module, config, image_shape, _run)


CASES = {
    "convnext_small": lambda: _make(SMALL, SMALL_IMAGE),
    "convnext_tiny": lambda: _make(TINY, (1, 64, 64, 3)),
}
