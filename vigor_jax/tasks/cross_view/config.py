"""What a run on pairs of views may be told."""

import dataclasses
from typing import Literal

from vigor_jax.config import BatchConfig, Config, DataConfig, RenderedCityConfig, Require, check_rendered_city
from vigor_jax.file_names import is_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The two towers and their aggregation."""

    # SAFA; generalised mean with a learnt power; mean of all positions; the mean and a layer shared by both views.
    aggregation: Literal["safa", "gem", "average", "fully_connected"]
    backbone: str = "vgg16"  # a backbone of vigor_jax.models.registry
    width: float = 1.0  # of VGG: multiplies every channel count; the others have their width in their names
    stride: int = 0  # pixels, of the backbone's map that is aggregated; 0 for its last map
    norm_momentum: float = 0.0  # of the running statistics of batch normalisation; 0 for the backbone's own
    num_heads: int = 8  # of the spatial-aware aggregation
    channels_per_head: int = 0  # each head's channels are projected to so many; 0 keeps all of the backbone
    descriptor_dim: int = 4096  # of the fully connected head; SAFA's is num_heads * channels
    dropout: float = 0.2
    centre_descriptor: bool = False  # subtract a running mean before normalising
    # The 2x2 pool between a map of stride 16 or finer and SAFA; without it four times the positions.
    final_pool: bool = True
    compass_heads: bool = False  # SAFA's heads start each in a direction, the same in both views
    aggregation_std: float = 0.005  # of the aggregation's first weights; random towers want them larger
    # What places the query within its tile. Regression learns the offset itself, classification one of 10 x 10 cells.
    offset_head: Literal["none", "regression", "classification"] = "none"
    cell_position: Literal["best", "expectation"] = "best"  # of a classified offset
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    # Keep only what passes between a VGG's stages, or what a tower of another backbone begins with, and compute the
    # rest again in the backward pass: less memory for a third more work.
    remat: bool = False
    # A weight file of the backbone, or the workdir of a finished run: on pairs for the whole model, on photos for both
    # towers. Empty: random.
    pretrained: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The soft-margin triplet loss, and what the hybrid phase adds to it.

    A loss of weight 0 is neither computed nor logged, and what it alone would read is not read.
    """

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
class PairBatchConfig(BatchConfig):
    """What a batch of pairs holds."""

    one_city: bool = False  # draw each batch from a single city
    augment: bool = False  # quarter turns of the tile with the roll of the panorama, mirror of both


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairConfig(Config):
    """Of every task on panoramas and the tiles that contain them."""

    data: DataConfig
    model: ModelConfig
    rendered_city: RenderedCityConfig = RenderedCityConfig()
    batch: PairBatchConfig
    # Pairs that a device encodes at a time in training; 0: all of its share of the batch at once. A smaller number
    # needs less memory and a third more work; the loss stays that of the whole batch (`models/micro_batches.py`).
    micro_batch_size: int = 0
    # Retrieve by the mean similarity over the eight symmetries of a tile, and place by the mean offset: eight times the
    # work and the memory.
    eval_symmetries: bool = False

    def check(self, require: Require) -> None:
        """Refuses cities, sizes and towers that cannot work."""
        check_rendered_city(self.rendered_city, require)
        _check_data(self, require)
        _check_model(self, require)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossViewConfig(PairConfig):
    """Of `cross_view`."""

    loss: LossConfig = LossConfig()
    mining: MiningConfig = MiningConfig()

    def check(self, require: Require) -> None:
        """Refuses, beside what no task on pairs can have, losses and mining that cannot work."""
        super().check(require)
        require(self.loss.alpha > 0, "loss.alpha", "must be positive")
        require(self.loss.iou_weight >= 0, "loss.iou_weight", "must not be negative")
        require(self.loss.offset_weight >= 0, "loss.offset_weight", "must not be negative")
        require(self.loss.hybrid_from_epoch >= 1, "loss.hybrid_from_epoch", "epochs are counted from 1")
        require(self.mining.capacity >= 1, "mining.capacity", "must be positive")
        require(self.mining.hardest >= 1, "mining.hardest", "must be positive")
        require(self.mining.from_epoch >= 2, "mining.from_epoch", "at least 2: the first epoch fills the pool")
        require(
            (self.loss.offset_weight > 0) == (self.model.offset_head != "none"),
            "loss.offset_weight",
            f"config.model.offset_head is {self.model.offset_head!r}, and a head needs a weight to be trained with and "
            "a weight a head",
        )


def _check_data(config: PairConfig, require: Require) -> None:
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
        0 <= config.data.validation_fraction < 0.5,
        "data.validation_fraction",
        "a share of at least 0 and below 0.5",
    )
    require(
        config.data.validation_fraction > 0 or config.optimizer.schedule != "plateau",
        "optimizer.schedule",
        "a plateau is one of the validation split, of which config.data.validation_fraction = 0 leaves nothing: hold "
        "some out, or take another schedule",
    )
    for key in ("data.aerial_size", "data.ground_size"):
        size = getattr(config.data, key.split(".")[1])
        require(all(32 <= s <= 8192 for s in size), key, "(height, width) of 32 to 8192 pixels")
        if not config.model.backbone.startswith("vgg"):
            continue  # how large its map is, the task knows (`tasks/cross_view/model.py`)
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
    require(config.micro_batch_size >= 0, "micro_batch_size", "pairs at a time, or 0 for all at once")


def _check_model(config: PairConfig, require: Require) -> None:
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
