"""What a run may be told: the schema of every config, checked once at start into frozen dataclasses.

The command line stays ml_collections (`--config.optimizer.learning_rate=1e-4`); `parse` turns the resulting
`ConfigDict` into a `Config`, so that a misspelt key or an impossible value fails in the first second.
"""

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import dacite
import ml_collections

from vigor_jax.errors import UserError
from vigor_jax.file_names import is_plain

_GREATEST = sys.float_info.max  # infinity is beyond it, and NaN not below


class ConfigError(UserError):
    """A config value that cannot work; the message names the key, the value and what is allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Of cross-view tasks: which images, which cities, which protocol."""

    name: str  # a data set of vigor_jax.datasets.REGISTRY
    root: str = ""  # raw data as downloaded (VIGOR); unused by rendered data
    data_dir: str = "data"  # prepared ArrayRecords are written to and read from here
    train_cities: tuple[str, ...]
    test_cities: tuple[str, ...] = ()  # the unseen cities of the cross-area protocol
    # Which test splits are evaluated. With "same_area" the training cities' panoramas are split by their
    # published halves; without it all of them train.
    protocols: tuple[Literal["same_area", "cross_area"], ...]
    # Training cities that the same-area protocol tests; empty: all of them. The others train whole.
    same_area_cities: tuple[str, ...] = ()
    aerial_size: tuple[int, int] = (320, 320)  # height, width in pixels
    ground_size: tuple[int, int] = (320, 640)
    # Of VIGOR. The two sets differ in their offsets alone, so with Web Mercator's either serves.
    labels: Literal["either", "corrected", "original"] = "either"
    offsets: Literal["web_mercator", "label_file"] = "web_mercator"
    # Share of each training city's area held out, as one geographic block, to select the best checkpoint.
    validation_fraction: float = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedCityConfig:
    """Extent of each rendered city; only read when data.name is rendered_city."""

    seed: int = 0
    train_tiles_per_side: int = 18
    test_tiles_per_side: int = 14


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageDataConfig:
    """Of classification: which labelled images, and what training makes of them."""

    name: str  # a data set of vigor_jax.datasets.LABELLED_IMAGES
    root: str = ""  # raw data: the folder, of grocery the .zip; unused once prepared
    data_dir: str = "data"  # prepared ArrayRecords are written to and read from here
    stored_side: int = 256  # pixels of the shorter side of prepared images, which keep their shape; 0: as they are
    classes: Literal["fine", "coarse"] = "fine"  # of data sets whose classes are grouped
    # Share of the training images held out, by their names, to select the best checkpoint; not read where the data set
    # has images for that beside those that test. 0: those that would test select, and none test.
    validation_fraction: float = 0.1
    crop: int = 224  # pixels, side of what the network sees in training
    # S, to which the shorter side is scaled before cropping: drawn from this range, ends included.
    scales: tuple[int, int] = (256, 256)
    mirror: bool = True  # half of the training images from left to right
    colour_shift: float = 0.0  # std along each principal axis of the training pixels' colours; 0.1 as published


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The two towers and their aggregation."""

    aggregation: Literal["safa", "fully_connected"]
    backbone: Literal["vgg11", "vgg16"] = "vgg16"
    width: float = 1.0  # multiplies every channel count of the backbone
    num_heads: int = 8  # of the spatial-aware aggregation
    channels_per_head: int = 0  # each head's channels are projected to so many; 0 keeps all of the backbone
    descriptor_dim: int = 4096  # of the fully connected head; SAFA's is num_heads * channels
    dropout: float = 0.2
    centre_descriptor: bool = False  # subtract a running mean before normalising
    final_pool: bool = True  # the 2x2 pool before SAFA; without it four times the positions
    compass_heads: bool = False  # SAFA's heads start each in a direction, the same in both views
    aggregation_std: float = 0.005  # of the aggregation's first weights; random towers want them larger
    # What places the query within its tile. Regression learns the offset itself, classification one of 10 x 10 cells.
    offset_head: Literal["none", "regression", "classification"] = "none"
    cell_position: Literal["best", "expectation"] = "best"  # of a classified offset
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    # Keep only what passes between the towers' stages and compute the rest again in the backward pass: less memory
    # for a third more work.
    remat: bool = False
    pretrained: str = ""  # a VGG-16 weight file; empty: random initialisation


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The soft-margin triplet loss, and what the hybrid phase adds to it."""

    alpha: float = 10.0
    iou_weight: float = 0.0  # of the semi-positives' loss: 0.1 in the authors' code, 1 in the paper
    # "ratio" is the published quotient of similarities, "difference" the same without the division, for centred
    # descriptors, whose similarities pass through zero.
    iou_form: Literal["ratio", "difference"] = "ratio"
    offset_weight: float = 0.0  # of the offset head's loss: 0.01 in the authors' code
    hybrid_from_epoch: int = 1  # counted from 1; the epochs before it train on the triplets alone
    # Whether a semi-positive tile that does not contain the query (28 % of Seattle's) counts in its loss. Its target,
    # the overlap with the tile centred on the query, is as exact as any, so it is kept.
    uncovering_semi_positives: Literal["keep", "drop"] = "keep"

    @property
    def is_hybrid(self) -> bool:
        """Whether any epoch trains on more than the triplets."""
        return self.iou_weight > 0 or self.offset_weight > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Hard negatives: half of each batch is drawn from the tiles that the other half finds most similar."""

    enabled: bool = False
    capacity: int = 40_000  # tiles in the pool, at most; fewer if there are fewer that train
    hardest: int = 100  # tiles remembered of each query
    from_epoch: int = 2  # counted from 1; the embeddings of the first epoch say little yet


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with the authors' continuous exponential decay, optionally warmed up."""

    learning_rate: float = 1e-5
    decay_rate: float = 0.1  # learning_rate * decay_rate ** (step / decay_steps)
    decay_steps: int = 150_000
    warmup_steps: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """What a batch holds."""

    size: int  # pairs, over all devices and hosts
    one_city: bool = False  # draw each batch from a single city
    augment: bool = False  # quarter turns of the tile with the roll of the panorama, mirror of both


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One run."""

    name: str  # the default workdir is runs/<name>
    task: str  # a task of vigor_jax.tasks.REGISTRY
    seed: int = 0
    epochs: int
    # Groups without which some tasks cannot be; `_GROUPS_OF_TASKS` says which.
    data: DataConfig | None = None
    images: ImageDataConfig | None = None
    model: ModelConfig | None = None
    rendered_city: RenderedCityConfig = RenderedCityConfig()
    loss: LossConfig = LossConfig()
    mining: MiningConfig = MiningConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    batch: BatchConfig
    evaluate_every_epochs: int = 1
    # Pairs that a device encodes at a time in training; 0: all of its share of the batch at once. A smaller number
    # needs less memory and a third more work; the loss stays that of the whole batch (`models/micro_batches.py`).
    micro_batch_size: int = 0
    eval_batch_size: int = 64
    # Retrieve by the mean similarity over the eight symmetries of a tile, and place by the mean offset: eight times the
    # work and the memory.
    eval_symmetries: bool = False
    log_every_steps: int = 50
    checkpoint_every_steps: int = 1000
    checkpoints_to_keep: int = 3  # newest; the best by the task's selection metric is kept beside them
    input_threads: int = 0  # that decode, of each process; 0: one for each core that it may use
    # Without a sign of life that are called a stall, when every thread's stack is printed; 0: never. The longest
    # silences of a healthy run, compiling and saving on a slow disk, take minutes; a false alarm costs a page of log.
    stall_seconds: float = 600.0


# What each task cannot do without, of the groups that are None elsewhere. A task not named here reads what cross-view
# does; whether there is such a task, `vigor_jax.tasks` says.
_GROUPS_OF_TASKS = {"classification": ("images",)}
_GROUPS_OF_CROSS_VIEW = ("data", "model")


def parse(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Config:
    """Checks a config and freezes it.

    Raises:
      ConfigError: unknown or missing key, wrong type, or a value that cannot work; says which and what is allowed.
    """
    tree = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    _check_keys(Config, tree, prefix="config")
    _check_groups(tree)
    try:
        parsed = dacite.from_dict(Config, tree, dacite.Config(strict=True, cast=[tuple], type_hooks={float: float}))
    except dacite.DaciteError as error:
        raise ConfigError(f"config: {error}") from error
    _check_values(parsed)
    return parsed


def check_key(path: str) -> None:
    """Refuses a dotted key, such as batch.size, that no config has.

    Raises:
      ConfigError: names the closest key and those allowed.
    """
    schema: Any = Config
    prefix = "config"
    for part in path.split("."):
        fields = typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) else {}
        if part not in fields:
            raise _unknown(part, fields, prefix)
        schema, prefix = group_of(fields[part]) or fields[part], f"{prefix}.{part}"


def group_of(hint: Any) -> type | None:
    """The dataclass that a key's type says its group is, optional or not; None of keys that are values."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((member for member in members if dataclasses.is_dataclass(member)), None)


def _unknown(key: str, allowed: Collection[str], prefix: str) -> ConfigError:
    close = difflib.get_close_matches(key, list(allowed), n=1)
    hint = f" Did you mean {prefix}.{close[0]}?" if close else ""
    choice = f" Allowed: {', '.join(sorted(allowed))}." if allowed else f" {prefix} is a value, not a group of keys."
    return ConfigError(f"{prefix}.{key} is not a config key.{hint}{choice}")


def _check_keys(cls: type, tree: Mapping[str, Any], prefix: str) -> None:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key, value in tree.items():
        if key not in fields:
            raise _unknown(str(key), fields, prefix)
        group = group_of(hints[key])
        if group is not None:
            if value is None and group is not hints[key]:
                continue  # optional
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}.{key} = {_shown(value)}: expected a group of keys.")
            _check_keys(group, value, f"{prefix}.{key}")
        else:
            _check_type(hints[key], value, f"{prefix}.{key}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise ConfigError(f"{prefix}.{name} is missing.")


def _check_groups(tree: Mapping[str, Any]) -> None:
    """Requires the groups that the task reads, and refuses those that only others read."""
    needed = _GROUPS_OF_TASKS.get(tree["task"], _GROUPS_OF_CROSS_VIEW)
    for name, hint in typing.get_type_hints(Config).items():
        if group_of(hint) in (None, hint):
            continue
        if name in needed and tree.get(name) is None:
            raise ConfigError(f"config.{name} is missing: config.task = {_shown(tree['task'])} reads it.")
        if name not in needed and tree.get(name) is not None:
            raise ConfigError(
                f"config.{name} is not read by config.task = {_shown(tree['task'])}, which reads "
                f"{' and '.join(f'config.{group}' for group in needed)}. Leave it out."
            )


def _check_type(hint: Any, value: Any, key: str) -> None:
    """Refuses what Python would take for such a value and nobody means: True for 1, NaN, "Seattle" for cities."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Literal:
        # By type too: 1 == True, and the unhashable is never among them.
        if not any(type(value) is type(choice) and value == choice for choice in arguments):
            raise ConfigError(f"{key} = {_shown(value)}. Allowed: {', '.join(map(repr, arguments))}.")
        return
    if kind is tuple:
        any_length = arguments[-1] is Ellipsis
        if not isinstance(value, tuple | list) or not (any_length or len(value) == len(arguments)):
            many = "any number of values" if any_length else f"{len(arguments)} values"
            raise ConfigError(f"{key} = {_shown(value)}: expected {many} in brackets with a comma, such as ('A',).")
        for item, inner in zip(value, [arguments[0]] * len(value) if any_length else arguments, strict=True):
            _check_type(inner, item, key)
        return
    sound = {
        bool: lambda: isinstance(value, bool),
        int: lambda: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
        float: lambda: isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _GREATEST,
        str: lambda: isinstance(value, str) and "\0" not in value,
    }[kind]
    if not sound():
        expected = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}[kind]
        raise ConfigError(f"{key} = {_shown(value)}: expected {expected} ({kind.__name__}).")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _check_values(config: Config) -> None:
    def require(condition: bool, key: str, expectation: str) -> None:
        if not condition:
            value = config
            for part in key.split("."):
                value = getattr(value, part)
            raise ConfigError(f"config.{key} = {_shown(value)}: {expectation}.")

    require(
        all(map(is_plain, config.name.split("/"))),
        "name",
        "printable, and not a path that leads out of runs/, where the run lies",
    )
    # Of a larger one, the random keys on the devices would drop the upper bits.
    require(0 <= config.seed < 2**32, "seed", "from 0 to 2**32 - 1")
    require(0 <= config.rendered_city.seed < 2**32, "rendered_city.seed", "from 0 to 2**32 - 1")
    for key in ("train_tiles_per_side", "test_tiles_per_side"):
        side = getattr(config.rendered_city, key)
        require(side >= 3, f"rendered_city.{key}", "at least 3: a positive tile needs neighbours all around")
    require(config.epochs >= 1, "epochs", "train for at least one epoch")
    require(config.batch.size >= 1, "batch.size", "must be positive")
    require(config.micro_batch_size >= 0, "micro_batch_size", "pairs at a time, or 0 for all at once")
    require(config.eval_batch_size >= 1, "eval_batch_size", "must be positive")
    require(config.evaluate_every_epochs >= 1, "evaluate_every_epochs", "must be positive")
    require(config.log_every_steps >= 1, "log_every_steps", "must be positive")
    require(config.checkpoint_every_steps >= 1, "checkpoint_every_steps", "must be positive")
    require(config.checkpoints_to_keep >= 1, "checkpoints_to_keep", "must be positive")
    require(config.input_threads >= 0, "input_threads", "a number of threads, or 0 for one a core")
    require(0 <= config.stall_seconds < math.inf, "stall_seconds", "seconds, or 0 for never")
    require(config.loss.alpha > 0, "loss.alpha", "must be positive")
    require(config.loss.iou_weight >= 0, "loss.iou_weight", "must not be negative")
    require(config.loss.offset_weight >= 0, "loss.offset_weight", "must not be negative")
    require(config.loss.hybrid_from_epoch >= 1, "loss.hybrid_from_epoch", "epochs are counted from 1")
    require(config.mining.capacity >= 1, "mining.capacity", "must be positive")
    require(config.mining.hardest >= 1, "mining.hardest", "must be positive")
    require(config.mining.from_epoch >= 2, "mining.from_epoch", "at least 2: the first epoch fills the pool")
    require(config.optimizer.learning_rate > 0, "optimizer.learning_rate", "must be positive")
    require(config.optimizer.decay_steps > 0, "optimizer.decay_steps", "must be positive")
    require(config.optimizer.decay_rate > 0, "optimizer.decay_rate", "must be positive; 1 for no decay")
    require(config.optimizer.warmup_steps >= 0, "optimizer.warmup_steps", "must not be negative")
    if config.data is not None and config.model is not None:
        _check_cross_view(config, require)
    if config.images is not None:
        _check_images(config.images, require)


def _check_cross_view(config: Config, require: Callable[[bool, str, str], None]) -> None:
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
        # Four 2x2 pools, or five, between the image and SAFA's positions.
        stride = 32 if config.model.final_pool else 16
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
    require(
        not config.model.pretrained or config.model.backbone == "vgg16",
        "model.backbone",
        "config.model.pretrained names weights of vgg16",
    )
    require(config.model.width > 0, "model.width", "must be positive")
    require(config.model.descriptor_dim >= 1, "model.descriptor_dim", "must be positive")
    require(config.model.num_heads >= 1, "model.num_heads", "must be positive")
    require(config.model.aggregation_std > 0, "model.aggregation_std", "must be positive")
    require(0 <= config.model.dropout < 1, "model.dropout", "a share in [0, 1)")
    require(config.model.channels_per_head >= 0, "model.channels_per_head", "a number of channels, or 0 for all")
    require(
        config.model.channels_per_head == 0 or config.model.aggregation == "safa",
        "model.channels_per_head",
        'only config.model.aggregation="safa" has heads; the other one\'s size is config.model.descriptor_dim',
    )
    require(
        (config.loss.offset_weight > 0) == (config.model.offset_head != "none"),
        "loss.offset_weight",
        f"config.model.offset_head is {config.model.offset_head!r}, and a head needs a weight to be trained with and a "
        "weight a head",
    )


def _check_images(images: ImageDataConfig, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of the group of labelled images that cannot work."""
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


def to_dict(config: Config) -> dict[str, Any]:
    """A config as plain JSON-able data, for summary.json and the checkpoint's record; absent groups are left out."""
    return {key: value for key, value in dataclasses.asdict(config).items() if value is not None}
