"""VGG of every configuration from torch's own layers, with torchvision's names, narrow and for small images.

There is no other implementation to be had that needs no torchvision. This one is written from table 1 of the paper.
"""

from functools import partial

import torch
from torch import nn

from tests.models.parity.fixture import Fixture
from tests.models.parity.torch_side import make_fixture

# Convolutions by channels, "P" for a pool, "N" for the normalisation, a minus for a kernel of 1 x 1.
_LAYERS = {
    "A": "4 P 8 P 16 16 P 32 32 P 32 32 P",
    "A-LRN": "4 N P 8 P 16 16 P 32 32 P 32 32 P",
    "B": "4 4 P 8 8 P 16 16 P 32 32 P 32 32 P",
    "C": "4 4 P 8 8 P 16 16 -16 P 32 32 -32 P 32 32 -32 P",
    "D": "4 4 P 8 8 P 16 16 16 P 32 32 32 P 32 32 32 P",
    "E": "4 4 P 8 8 P 16 16 16 16 P 32 32 32 32 P 32 32 32 32 P",
}
WIDTH = 1 / 16
_HIDDEN = 256
_CLASSES = 5


class _VGG(nn.Module):
    def __init__(self, configuration: str, positions: int):
        super().__init__()
        features: list[nn.Module] = []
        channels = 3
        for layer in _LAYERS[configuration].split():
            if layer == "P":
                # At odd sides the last row and column stay.
                features.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            elif layer == "N":
                # Krizhevsky's alpha is on the sum of the five squares, torch's on their mean.
                features.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
            else:
                size = 1 if layer.startswith("-") else 3
                inputs, channels = channels, abs(int(layer))
                features += [nn.Conv2d(inputs, channels, size, padding=size // 2), nn.ReLU()]
        self.features = nn.Sequential(*features)
        self.positions = positions
        self.classifier = nn.Sequential(
            nn.Linear(channels * positions**2, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(_HIDDEN, _CLASSES),
        )


def _run(network: _VGG, image: torch.Tensor, *, maps: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """The maps before each pool, and the mean of the scores of every window, each flattened and classified."""
    before, features = [], image
    for layer in network.features:
        if isinstance(layer, nn.MaxPool2d):
            before.append(features)
        features = layer(features)
    side = network.positions
    scores = [
        network.classifier(features[:, :, i : i + side, j : j + side].flatten(1))
        for i in range(features.shape[2] - side + 1)
        for j in range(features.shape[3] - side + 1)
    ]
    return {f"map{i}": before[i] for i in maps} | {"logits": torch.stack(scores).mean(0)}


def _make(
    configuration: str, positions: int, image_shape: tuple[int, int, int, int], maps: tuple[int, ...] = (4,)
) -> Fixture:
    config = {"configuration": configuration, "positions": positions, "classes": _CLASSES}
    return make_fixture(_VGG(configuration, positions), config, image_shape, partial(_run, maps=maps))


CASES = {
    # The first map tells whether the normalisation is where it should be.
    "vgg_a_lrn": partial(_make, "A-LRN", 2, (2, 64, 64, 3), (0, 4)),
    "vgg_a": partial(_make, "A", 1, (2, 32, 32, 3)),
    "vgg_b": partial(_make, "B", 2, (1, 64, 64, 3)),
    "vgg_c": partial(_make, "C", 2, (1, 64, 64, 3)),
    # Odd sides on the way down, and every map.
    "vgg_d": partial(_make, "D", 2, (2, 45, 58, 3), (0, 1, 2, 3, 4)),
    # Windows that slide: 3 x 5 positions.
    "vgg_e": partial(_make, "E", 2, (1, 96, 160, 3)),
}
