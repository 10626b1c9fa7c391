"""ConvNeXt and EfficientNet as torchvision and timm have them: `python -m tests.models.parity.torchvision_and_timm`.

Needs torchvision 0.28.0 and timm 1.0.31, which are not in the extra `parity`: the wheels of torchvision that the
package index has do not go with a PyTorch for the CPU alone. Hence a module of its own, which nobody has to run.
"""

import timm.models.convnext
import timm.models.efficientnet
import torch
import torchvision.models.convnext
import torchvision.models.efficientnet

from tests.models.parity import convnext, efficientnet
from tests.models.parity.fixture import Fixture, save
from tests.models.parity.torch_side import make_fixture

# Of EfficientNet's seven stages, those whose resolution the next one halves, and the last.
_ENDS = (0, 1, 2, 4, 6)


def convnext_torchvision() -> Fixture:
    """Its stages and the layers between them are one sequence, from the stem on."""
    config = convnext.SMALL
    widths = [*config["hidden_sizes"], None]
    blocks = [
        torchvision.models.convnext.CNBlockConfig(widths[i], widths[i + 1], depth)
        for i, depth in enumerate(config["depths"])
    ]
    network = torchvision.models.convnext.ConvNeXt(blocks, num_classes=config["num_labels"])

    def run(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
        stages = _passed(network.features, image)[1::2]
        return {f"stage{i}": stage for i, stage in enumerate(stages)} | {"logits": network(image)}

    return make_fixture(network, config, convnext.SMALL_IMAGE, run)


def convnext_timm() -> Fixture:
    """Stem, stages with the downsampling inside, head."""
    config = convnext.SMALL
    network = timm.models.convnext.ConvNeXt(
        depths=config["depths"], dims=config["hidden_sizes"], num_classes=config["num_labels"]
    )

    def run(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
        stages = _passed(network.stages, network.stem(image))
        return {f"stage{i}": stage for i, stage in enumerate(stages)} | {"logits": network(image)}

    return make_fixture(network, config, convnext.SMALL_IMAGE, run)


def efficientnet_torchvision() -> Fixture:
    """Padded alike on both sides; with the epsilon of B0 to B4."""
    config = efficientnet.SMALL
    stages, last = torchvision.models.efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=config["width_coefficient"], depth_mult=config["depth_coefficient"]
    )
    network = torchvision.models.efficientnet.EfficientNet(
        stages, dropout=0.2, last_channel=last, num_classes=config["num_labels"]
    )

    def run(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
        stages = _passed(network.features, image)[1:]
        return {f"map{level}": stages[at] for level, at in enumerate(_ENDS)} | {"logits": network(image)}

    return make_fixture(network, config, efficientnet.SMALL_IMAGE, run)


def efficientnet_timm() -> Fixture:
    """The kind that timm calls tf_efficientnet."""
    config = efficientnet.SMALL
    network = timm.models.efficientnet._gen_efficientnet(
        "tf_efficientnet_b0",
        channel_multiplier=config["width_coefficient"],
        depth_multiplier=config["depth_coefficient"],
        num_classes=config["num_labels"],
        pad_type="same",
        bn_eps=1e-3,
    )

    def run(network: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
        stages = _passed(network.blocks, network.bn1(network.conv_stem(image)))
        return {f"map{level}": stages[at] for level, at in enumerate(_ENDS)} | {"logits": network(image)}

    return make_fixture(network, config, efficientnet.SMALL_IMAGE, run)


def _passed(parts: torch.nn.Sequential, features: torch.Tensor) -> list[torch.Tensor]:
    """What each part of a sequence puts out."""
    outputs = []
    for part in parts:
        features = part(features)
        outputs.append(features)
    return outputs


CASES = (convnext_torchvision, convnext_timm, efficientnet_torchvision, efficientnet_timm)

if __name__ == "__main__":
    for case in CASES:
        print(save(case.__name__, case()).name)
