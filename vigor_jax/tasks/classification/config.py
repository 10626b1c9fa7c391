"""What a run on single photos may be told."""

import dataclasses
from typing import Literal

from vigor_jax.config import Config, ImageDataConfig, RenderedCityConfig, Require, check_rendered_city, shown

_STRIDE = 32  # pixels, of every backbone but ViT


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The network of tasks that classify images, and how it is tested."""

    backbone: str  # a name of vigor_jax.models.registry.BACKBONES
    # Before the logits, or after each fully connected layer (VGG); -1: what the backbone's paper has.
    dropout: float = -1.0
    # Of the running statistics of batch normalisation; 0: what the backbone's paper has, which suits long runs.
    norm_momentum: float = 0.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    # A weight file of the backbone, or the workdir of a finished run on photos; logits of another number of classes are
    # left out. Empty: random.
    pretrained: str = ""
    # Of the pixels, a name of models/preprocessing.py: for random weights, as others bring their own. Empty: what the
    # backbone's published weights expect.
    preprocessing: Literal["", "imagenet_mean", "keras", "tf", "torchvision", "vigor"] = ""
    # Random kernels of VGG, whose paper has more than one way (models/vgg.py); empty: the backbone's own.
    initialisation: Literal["", "he", "glorot", "normal"] = ""
    # The workdir of a finished run of vgg11 or vgg11_lrn: a deeper VGG takes over its outer layers, as in the paper.
    shallower: str = ""
    test_scales: tuple[int, ...] = (256,)  # Q, of the shorter side; probabilities are averaged over several
    # How the trained network is tested, at the end of the run, beside the centre crop of every evaluation: on whole
    # images and their mirror images, on a grid of crops and theirs, or both.
    test_protocol: Literal["centre_crop", "dense", "multi_crop", "dense_and_multi_crop"] = "centre_crop"
    crops_per_side: int = 5  # of the grid; five make 150 crops at three scales, as in VGG's paper


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassificationConfig(Config):
    """Of `classification`, and of every task whose network tells single photos apart."""

    images: ImageDataConfig
    classifier: ClassifierConfig
    rendered_city: RenderedCityConfig = RenderedCityConfig()

    def check(self, require: Require) -> None:
        """Refuses photos, networks and ways of testing that cannot work."""
        check_rendered_city(self.rendered_city, require)
        _check_images(self.images, require)
        _check_classifier(self, require)


def _check_images(images: ImageDataConfig, require: Require) -> None:
    side = images.stored_side
    require(side == 0 or 8 <= side <= 8192, "images.stored_side", "8 to 8192 pixels, or 0 for images as they are")
    require(0 <= images.validation_fraction < 0.5, "images.validation_fraction", "a share of at least 0 and below 0.5")
    require(1 <= images.crop <= 8192, "images.crop", "1 to 8192 pixels")
    least, most = images.scales
    require(
        images.crop <= least <= most <= 8192,
        "images.scales",
        f"(least, most) of at least config.images.crop = {images.crop} pixels, as the crop is taken from the scaled "
        "image, and at most 8192",
    )
    require(images.colour_shift >= 0, "images.colour_shift", "a standard deviation, or 0 for none")


def _check_classifier(config: ClassificationConfig, require: Require) -> None:
    classifier = config.classifier
    require(
        classifier.dropout == -1 or 0 <= classifier.dropout < 1,
        "classifier.dropout",
        "a share in [0, 1), or -1 for what the backbone's paper has",
    )
    require(
        0 <= classifier.norm_momentum < 1,
        "classifier.norm_momentum",
        "above 0 and below 1, or 0 for what the backbone's paper has",
    )
    for key in ("initialisation", "shallower"):
        require(
            not getattr(classifier, key) or classifier.backbone.startswith("vgg"),
            f"classifier.{key}",
            f"VGG alone has a choice; leave it out for config.classifier.backbone = {shown(classifier.backbone)}",
        )
    for key in ("preprocessing", "initialisation", "shallower"):
        require(
            not getattr(classifier, key) or not classifier.pretrained,
            f"classifier.{key}",
            f"config.classifier.pretrained = {shown(classifier.pretrained)} is where it starts; leave one of them out",
        )
    require(bool(classifier.test_scales), "classifier.test_scales", "name at least one size, such as (256,)")
    require(
        min(classifier.test_scales) >= config.images.crop,
        "classifier.test_scales",
        f"none below config.images.crop = {config.images.crop} pixels, as the crop is taken from the scaled image",
    )
    protocol = classifier.test_protocol
    if "dense" in protocol:
        require(
            all(scale % _STRIDE == 0 for scale in classifier.test_scales),
            "classifier.test_scales",
            f"multiples of {_STRIDE}, as config.classifier.test_protocol = {shown(protocol)} tests whole images, which "
            "are cut to such",
        )
    require(classifier.crops_per_side >= 1, "classifier.crops_per_side", "at least one crop")
    require(
        "multi_crop" in protocol or classifier.crops_per_side == ClassifierConfig.crops_per_side,
        "classifier.crops_per_side",
        f"config.classifier.test_protocol = {shown(protocol)} does not read it, only 'multi_crop' and "
        f"'dense_and_multi_crop': it keeps its default, {ClassifierConfig.crops_per_side}",
    )
