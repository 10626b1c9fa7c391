"""MobileNet as Hugging Face transformers has it."""

from functools import partial

import torch
from transformers import MobileNetV1Config, MobileNetV1ForImageClassification

from tests.models.parity.fixture import Fixture
from tests.models.parity.torch_side import make_fixture

# Positions, among the depthwise and pointwise layers in turn, after which the resolution halves.
_LAST_OF_STAGES = (1, 5, 9, 21, 25)


def _make(config: dict, image_shape: tuple[int, int, int, int]) -> Fixture:
    network = MobileNetV1ForImageClassification(MobileNetV1Config(**config))
    return make_fixture(network, config, image_shape, _run)


def _run(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    outputs = network(image, output_hidden_states=True)
    maps = {f"map_{i}": outputs.hidden_states[at] for i, at in enumerate(_LAST_OF_STAGES)}
    return maps | {"logits": outputs.logits}


CASES = {
    # Odd sides, where padding as TensorFlow has it differs from row to row.
    "mobilenet_0.25": partial(_make, {"depth_multiplier": 0.25, "num_labels": 10}, (2, 45, 66, 3)),
    "mobilenet_1.0": partial(_make, {"depth_multiplier": 1.0, "num_labels": 1001}, (1, 64, 64, 3)),
}
