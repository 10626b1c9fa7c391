"""transformers' ResNet, of the names that Hugging Face's files have."""

import torch
from transformers import ResNetConfig, ResNetForImageClassification

from tests.models.parity.fixture import Fixture
from tests.models.parity.torch_side import make_fixture

SMALL = {"embedding_size": 8, "hidden_sizes": [32, 64, 128], "depths": [1, 2, 1], "num_labels": 5}
RESNET50 = {"embedding_size": 64, "hidden_sizes": [256, 512, 1024, 2048], "depths": [3, 4, 6, 3], "num_labels": 10}


def _run(module: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    output = module(image, output_hidden_states=True)
    stages = output.hidden_states[1:]  # after the stem
    return {f"stage{i}": stage for i, stage in enumerate(stages)} | {"logits": output.logits}


def _make(config: dict, image_shape: tuple[int, int, int, int]) -> Fixture:
    module = ResNetForImageClassification(ResNetConfig(**config))
    return make_fixture(module, config, image_shape, _run)


CASES = {
    # Odd and even sides on the way down.
    "resnet_small": lambda: _make(SMALL, (2, 45, 70, 3)),
    "resnet50": lambda: _make(RESNET50, (1, 64, 64, 3)),
}
