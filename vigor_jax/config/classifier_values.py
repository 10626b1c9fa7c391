"""Values of the classifier's group that cannot work, or that nothing would read."""

from collections.abc import Callable

from vigor_jax.config.errors import shown
from vigor_jax.config.schema import BatchConfig, ClassifierConfig, Config, MiningConfig

_STRIDE = 32  # pixels, of every backbone but ViT


def check_classifier(config: Config, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of tasks that classify images."""
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
        require(
            not getattr(classifier, key) or not classifier.pretrained,
            f"classifier.{key}",
            f"config.classifier.pretrained = {shown(classifier.pretrained)} is where it starts; leave one of them out",
        )
    require(bool(classifier.test_scales), "classifier.test_scales", "name at least one size, such as (256,)")
    if config.images is not None:
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
    pairs = "it is for tasks on pairs of images, which this one is not"
    require(config.micro_batch_size == 0, "micro_batch_size", f"{pairs}: leave it at 0")
    require(not config.eval_symmetries, "eval_symmetries", f"{pairs}: leave it at False")
    require(not config.mining.enabled, "mining.enabled", f"{pairs}: leave it at {MiningConfig.enabled}")
    require(not config.batch.one_city, "batch.one_city", f"{pairs}: leave it at {BatchConfig.one_city}")
    require(
        not config.batch.augment,
        "batch.augment",
        f"{pairs}: leave it at {BatchConfig.augment}; config.images.scales and config.images.mirror vary photos",
    )
    if config.geocells is not None:
        cells = config.geocells
        require(cells.fewest >= 1, "geocells.fewest", "a cell holds at least one photo")
        require(cells.most >= cells.fewest, "geocells.most", f"at least config.geocells.fewest = {cells.fewest}")
        require(0 <= cells.deepest <= 30, "geocells.deepest", "S2's levels are 0 to 30")
