"""transformers' DINOv2 and ViT, of the names that Hugging Face's files have."""

import torch
from transformers import (
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from tests.models.parity.fixture import Fixture
from tests.models.parity.saved_state import make_fixture_of_file

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "num_labels": 5}
DINO = SMALL | {"image_size": 70, "patch_size": 14}
REGISTERS = DINO | {"num_register_tokens": 2, "use_swiglu_ffn": True}
PLAIN = SMALL | {"image_size": 64, "patch_size": 16, "intermediate_size": 96}


def _outputs(tokens: torch.Tensor, logits: torch.Tensor, image: torch.Tensor, config: dict) -> dict[str, torch.Tensor]:
    rows, columns = (side // config["patch_size"] for side in image.shape[2:])
    patches = tokens[:, -rows * columns :].unflatten(1, (rows, columns))
    return {"class_token": tokens[:, 0], "patches": patches, "logits": logits}


def _dino(image_shape: tuple[int, int, int, int]) -> Fixture:
    def run(model: Dinov2ForImageClassification, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return _outputs(model.dinov2(image).last_hidden_state, model(image).logits, image, DINO)

    model = Dinov2ForImageClassification(Dinov2Config(**DINO))
    return make_fixture_of_file(model, DINO, image_shape, run, unused=("dinov2.embeddings.mask_token",))


def _registers(image_shape: tuple[int, int, int, int]) -> Fixture:
    def run(model: Dinov2WithRegistersForImageClassification, image: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = model.dinov2_with_registers(image).last_hidden_state
        return _outputs(tokens, model(image).logits, image, REGISTERS)

    model = Dinov2WithRegistersForImageClassification(Dinov2WithRegistersConfig(**REGISTERS))
    unused = ("dinov2_with_registers.embeddings.mask_token",)
    return make_fixture_of_file(model, REGISTERS, image_shape, run, unused)


def _plain(image_shape: tuple[int, int, int, int]) -> Fixture:
    def run(model: ViTForImageClassification, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return _outputs(model.vit(image).last_hidden_state, model(image).logits, image, PLAIN)

    return make_fixture_of_file(ViTForImageClassification(ViTConfig(**PLAIN)), PLAIN, image_shape, run)


# Positions for 5 x 5 patches, interpolated to 4 x 6, with a few pixels left over, and to 3 x 7; and, of the plain one,
# for 4 x 4 as they are.
CASES = {
    "dinov2_small": lambda: _dino((2, 60, 84, 3)),
    "dinov2_registers": lambda: _registers((2, 42, 98, 3)),
    "vit_plain": lambda: _plain((2, 64, 64, 3)),
}
