"""Values of the groups of cross-view tasks that cannot work."""

from collections.abc import Callable

from vigor_jax.config.schema import Config
from vigor_jax.file_names import is_plain


def check_cross_view(config: Config, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of the groups of cross-view tasks that cannot work."""
    require(config.batch.size >= 2, "batch.size", "a triplet needs a negative, so at least 2")
    require(bool(config.data.train_cities), "data.train_cities", "name at least one city")
    for key in ("train_cities", "test_cities", "same_area_cities", "protocols"):
        values = getattr(config.data, key)
        require(len(set(values)) == len(values), f"data.{key}", "names one twice")
        require(
            all(map(is_plain, values)),
            f"data.{key}",
            "a city is named like one folder: printable, no / or ..",
        )
    require(bool(config.data.protocols), "data.protocols", "name at least one of same_area, cross_area")
    beyond = sorted(set(config.data.same_area_cities) - set(config.data.train_cities))
    require(not beyond, "data.same_area_cities", f"{beyond} are not among config.data.train_cities")
    require(
        not config.data.same_area_cities or "same_area" in config.data.protocols,
        "data.same_area_cities",
        "only the same_area protocol reads it, which config.data.protocols does not name",
    )
    if "cross_area" in config.data.protocols:
        require(bool(config.data.test_cities), "data.test_cities", "the cross_area protocol needs an unseen city")
        both = set(config.data.train_cities) & set(config.data.test_cities)
        require(not both, "data.test_cities", f"{sorted(both)} also train, so they are not unseen")
    require(
        config.data.offsets != "label_file" or config.data.labels != "either",
        "data.labels",
        "offsets of the label files differ between the corrected and the original set, so name one of them",
    )
    require(
        0 < config.data.validation_fraction < 0.5,
        "data.validation_fraction",
        "a share between 0 and 0.5; without it no checkpoint could be selected",
    )
    for key in ("data.aerial_size", "data.ground_size"):
        size = getattr(config.data, key.split(".")[1])
        require(all(32 <= s <= 8192 for s in size), key, "(height, width) of 32 to 8192 pixels")
        if not config.model.backbone.startswith("vgg"):
            continue  # how large its map is, the task knows (`tasks/cross_view/towers.py`)
        # Of VGG four 2x2 pools, or five, lie between the image and SAFA's positions.
        stride = (config.model.stride or 16) * (2 if config.model.final_pool else 1)
        require(
            config.model.aggregation != "safa" or any(s > stride for s in size),
            key,
            f"the spatial-aware aggregation needs more than one position of {stride} x {stride} pixels; enlarge the "
            "images or set config.model.final_pool=False",
        )
    for key, wanted in (("batch.augment", config.batch.augment), ("eval_symmetries", config.eval_symmetries)):
        require(
            not wanted
            or (config.data.aerial_size[0] == config.data.aerial_size[1] and config.data.ground_size[1] % 4 == 0),
            key,
            "turns tiles and rolls panoramas by quarters of their width, so config.data.aerial_size must be "
            f"square, not {config.data.aerial_size}, and the width in config.data.ground_size a multiple of 4, not "
            f"{config.data.ground_size[1]}",
        )
    require(config.model.width > 0, "model.width", "must be positive")
    require(config.model.stride >= 0, "model.stride", "pixels, or 0 for the backbone's last map")
    require(
        0 <= config.model.norm_momentum < 1,
        "model.norm_momentum",
        "what the running statistics keep at each step, below 1, or 0 for the backbone's own",
    )
    require(config.model.descriptor_dim >= 1, "model.descriptor_dim", "must be positive")
    require(config.model.num_heads >= 1, "model.num_heads", "must be positive")
    require(config.model.aggregation_std > 0, "model.aggregation_std", "must be positive")
    require(0 <= config.model.dropout < 1, "model.dropout", "a share in [0, 1)")
    require(config.model.channels_per_head >= 0, "model.channels_per_head", "a number of channels, or 0 for all")
    require(
        config.model.channels_per_head == 0 or config.model.aggregation == "safa",
        "model.channels_per_head",
        'only config.model.aggregation="safa" has heads; of "fully_connected" the size is config.model.descriptor_dim, '
        "of the others the backbone's",
    )
    require(
        (config.loss.offset_weight > 0) == (config.model.offset_head != "none"),
        "loss.offset_weight",
        f"config.model.offset_head is {config.model.offset_head!r}, and a head needs a weight to be trained with and a "
        "weight a head",
    )
