"""What a run may be told: frozen dataclasses, a group of keys each."""

import dataclasses
from typing import Literal


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
class ClassifierConfig:
    """The network of tasks that classify images, and how it is tested."""

    backbone: str  # a name of vigor_jax.models.registry.BACKBONES
    # Before the logits, or after each fully connected layer (VGG); -1: what the backbone's paper has.
    dropout: float = -1.0
    # Of the running statistics of batch normalisation; 0: what the backbone's paper has, which suits long runs.
    norm_momentum: float = 0.0
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the computation; parameters are float32
    # A weight file of the backbone; its logits are left out if they are of another number of classes. Empty: random.
    pretrained: str = ""
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
class GeocellConfig:
    """The cells of the globe that geolocation chooses among; see docs/geolocation.md."""

    most: int = 10_000  # training photos in a cell, beyond which it is divided; PlaNet's, for 91 million photos
    fewest: int = 50  # below which it is dropped with its photos; likewise
    deepest: int = 30  # S2's level at which dividing ends; 12 is some 2 km, 30 a centimetre
    place_at: Literal["most_probable", "mean"] = "most_probable"  # the centre of that cell, or of all by probability


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
    pretrained: str = ""  # a weight file of the backbone; empty: random initialisation


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
class DistillationConfig:
    """Of distillation: whose embeddings the student learns."""

    teacher: str  # workdir of a finished run, or a weight file
    # Of image_distillation, whose teacher may be a weight file: the backbone that it is of. Empty: a run.
    teacher_backbone: str = ""
    # A linear layer with a bias, of each view, from the student's descriptor to the teacher's size. Without it the
    # sizes must agree.
    projection: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How gradients become updates, and the learning rate through the run; VIGOR's unless told otherwise.

    A key that the chosen name or schedule does not read keeps its default (`config/optimizer_values.py`).
    """

    name: Literal["adam", "sgd", "rmsprop"] = "adam"
    learning_rate: float = 1e-5
    momentum: float = 0.9  # of sgd and rmsprop; 0 for none
    # Of kernels alone, depthwise ones left out. L2 in the gradient with sgd and rmsprop, decoupled with adam (AdamW).
    weight_decay: float = 0.0
    # exponential: learning_rate * decay_rate ** (step / decay_steps); staircase: the same, the quotient rounded down;
    # cosine: half a period, from learning_rate to 0 in decay_steps; plateau: learning_rate, times plateau_factor
    # whenever the metric that selects the best checkpoint stops rising.
    schedule: Literal["exponential", "staircase", "cosine", "plateau"] = "exponential"
    decay_rate: float = 0.1
    decay_steps: int = 150_000
    plateau_patience: int = 3  # evaluations in a row without a new best; the VGG paper does not say how many
    plateau_factor: float = 0.1
    warmup_steps: int = 0  # the first rates are scaled by 1/warmup_steps, 2/warmup_steps, ... 1


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
    classifier: ClassifierConfig | None = None
    geocells: GeocellConfig | None = None
    model: ModelConfig | None = None
    distillation: DistillationConfig | None = None
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
GROUPS_OF_CROSS_VIEW = ("data", "model")
GROUPS_OF_TASKS = {
    "classification": ("images", "classifier"),
    "geolocation": ("images", "classifier", "geocells"),
    "cross_view_distillation": (*GROUPS_OF_CROSS_VIEW, "distillation"),
    "image_distillation": ("images", "classifier", "distillation"),
}
