"""VGG and MobileNet with their classifiers in PyTorch, under the names that weight files have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from vigor_jax.models.mobilenet import MobileNet
from vigor_jax.models.vgg import CONVOLUTIONS, VGG


class VGGClassifier(nn.Module):
    """[B, 3, H, W] preprocessed images -> logits [B, classes]; torchvision's names."""

    def __init__(self, network: VGG, positions: int, classes: int, dropout: float):
        """Of a configuration with 3 x 3 convolutions; `positions` is the side of the last pooled map."""
        super().__init__()
        layers: list[nn.Module] = []
        inward = 3
        for outward, count in zip(network.channels, CONVOLUTIONS[network.configuration], strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(inward, outward, 3, padding=1), nn.ReLU(inplace=True)]
                inward = outward
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        hidden = round(4096 * network.width)
        self.classifier = nn.Sequential(
            nn.Linear(inward * positions**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        # Flattened by channel, row, column whatever the memory's order.
        return self.classifier(self.features(images).flatten(1))


class _Layer(nn.Module):
    """A convolution padded as TensorFlow's SAME, batch normalisation, ReLU6."""

    def __init__(self, inward: int, outward: int, size: int, stride: int, groups: int, momentum: float, epsilon: float):
        super().__init__()
        self._size, self._stride = size, stride
        self.convolution = nn.Conv2d(inward, outward, size, stride, groups=groups, bias=False)
        self.normalization = nn.BatchNorm2d(outward, eps=epsilon, momentum=1 - momentum)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        missing = [
            max((-(-side // self._stride) - 1) * self._stride + self._size - side, 0) for side in features.shape[2:]
        ]
        (top, bottom), (left, right) = ((each // 2, each - each // 2) for each in missing)
        if any(missing):
            features = F.pad(features, (left, right, top, bottom))
        return F.relu6(self.normalization(self.convolution(features)), inplace=True)


class _MobileNetLayers(nn.Module):
    def __init__(self, network: MobileNet):
        super().__init__()
        options = (network.momentum, network.epsilon)
        stem = network.scaled(32)
        self.conv_stem = _Layer(3, stem, 3, 2, 1, *options)
        layers: list[nn.Module] = []
        inward = stem
        for _, outward, stride in network.blocks:
            layers.append(_Layer(inward, inward, 3, stride, inward, *options))
            layers.append(_Layer(inward, outward, 1, 1, 1, *options))
            inward = outward
        self.layer = nn.ModuleList(layers)
        self.outward = inward

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.conv_stem(images)
        for layer in self.layer:
            features = layer(features)
        return features


class MobileNetClassifier(nn.Module):
    """[B, 3, H, W] preprocessed images -> logits [B, classes]; transformers' names."""

    def __init__(self, network: MobileNet, classes: int, dropout: float):
        """Of a whole network of separable convolutions."""
        super().__init__()
        self.mobilenet_v1 = _MobileNetLayers(network)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.mobilenet_v1.outward, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.classifier(self.dropout(self.mobilenet_v1(images).mean((2, 3))))


def decayed(module: nn.Module) -> tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]]:
    """(Parameters that weight decay shrinks, the others): the rule of `vigor_jax.train.weight_decay`."""
    shrunk, others = [], []
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            is_kernel = name == "weight" and isinstance(part, nn.Conv2d | nn.Linear)
            depthwise = isinstance(part, nn.Conv2d) and part.groups > 1
            (shrunk if is_kernel and not depthwise else others).append(parameter)
    return shrunk, others
