"""transformers' EfficientNet, of the names that Hugging Face's files have."""

import torch
from transformers import EfficientNetConfig, EfficientNetForImageClassification

from tests.models.parity.fixture import Fixture
from tests.models.parity.torch_side import make_fixture

# Strided convolutions of 3 x 3 and of 5 x 5 see even sides and, in blocks 3 and 5, odd ones, whose padding is alike at
# both ends. The implementation does not look at the sides: `depthwise_padding` numbers those blocks.
SMALL = {
    "width_coefficient": 0.5,
    "depth_coefficient": 0.3,
    "hidden_dim": 640,
    "depthwise_padding": [3, 5],
    "num_labels": 5,
}
SMALL_IMAGE = (2, 40, 72, 3)
B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "depthwise_padding": [], "num_labels": 10}


def _run(module: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    output = module(image, output_hidden_states=True)
    blocks = output.hidden_states[1:]  # after the stem
    # What the last block at each resolution puts out.
    ends = [i for i, block in enumerate(blocks) if i + 1 == len(blocks) or blocks[i + 1].shape[2:] != block.shape[2:]]
    return {f"map{level}": blocks[i] for level, i in enumerate(ends)} | {"logits": output.logits}


def _make(config: dict, image_shape: tuple[int, int, int, int]) -> Fixture:
    module = EfficientNetForImageClassification(EfficientNetConfig(**config))
    return make_fixture(module, config, image_shape, _run)


CASES = {
    "efficientnet_small": lambda: _make(SMALL, SMALL_IMAGE),
    "efficientnet_b0": lambda: _make(B0, (1, 64, 64, 3)),
}
