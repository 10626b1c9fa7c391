"""transformers' Swin, of the names that Hugging Face's files have."""

import torch
from transformers import SwinConfig, SwinForImageClassification

from tests.models.parity.fixture import Fixture
from tests.models.parity.saved_state import make_fixture_of_file

SMALL = {"embed_dim": 12, "depths": [2, 2, 2], "num_heads": [2, 3, 4], "window_size": 3, "num_labels": 5}


def _run(model: SwinForImageClassification, image: torch.Tensor) -> dict[str, torch.Tensor]:
    inner = model.swin(image, output_hidden_states=True, output_hidden_states_before_downsampling=True)
    maps = inner.reshaped_hidden_states[1:]  # after the patch embedding
    stages = {f"stage{i}": stage.permute(0, 2, 3, 1) for i, stage in enumerate(maps, 1)}
    return stages | {"logits": model(image).logits}


def _make(image_shape: tuple[int, int, int, int]) -> Fixture:
    return make_fixture_of_file(SwinForImageClassification(SwinConfig(**SMALL)), SMALL, image_shape, _run)


# Sides that the patch does not divide. Maps of 9 x 12, whole windows, but filled up where patches merge; of 5 x 6,
# filled up to whole windows; and of 3 x 3, where the only window stays in its place.
CASES = {"swin_small": lambda: _make((2, 35, 46, 3))}
