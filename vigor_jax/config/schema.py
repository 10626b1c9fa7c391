"""What every run may be told, and the groups of keys that several tasks share: frozen dataclasses."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

Require = Callable[[bool, str, str], None]
"""Raises a ConfigError unless the first argument holds: (holds, key, what is expected of the key's value)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Of tasks on pairs of views: which images, which cities, which protocol."""

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
    # Share of each training city's panoramas held out, in one geographic block, to select the best checkpoint. 0: all
    # train, and none is selected.
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

    size: int  # examples, over all devices and hosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What every run is told; each task adds groups and keys of its own (`tasks/<task>/config.py`)."""

    name: str  # the default workdir is runs/<name>
    task: str  # a task of vigor_jax.tasks.REGISTRY
    seed: int = 0
    epochs: int
    optimizer: OptimizerConfig = OptimizerConfig()
    batch: BatchConfig
    evaluate_every_epochs: int = 1
    eval_batch_size: int = 64
    log_every_steps: int = 50
    checkpoint_every_steps: int = 1000
    checkpoints_to_keep: int = 3  # newest; the best by the task's selection metric is kept beside them
    input_threads: int = 0  # that decode, of each process; 0: one for each core that it may use
    # Without a sign of life that are called a stall, when every thread's stack is printed; 0: never. The longest
    # silences of a healthy run, compiling and saving on a slow disk, take minutes; a false alarm costs a page of log.
    stall_seconds: float = 600.0

    # A key of those tasks that can encode a device's share of the batch in parts.
    micro_batch_size: ClassVar[int] = 0

    def check(self, require: Require) -> None:
        """Refuses values of the task's own keys that cannot work, each by a call of `require`."""
