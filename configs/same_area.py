"""VIGOR, same-area protocol: every row of the paper's table 3 (Zhu, Yang, Chen, CVPR 2021, section 5).

    python main.py --config=configs/same_area.py --config.data.root=/path/to/VIGOR \
        --config.model.pretrained=/path/to/vgg16-397923af.pth

Data: VIGOR as its authors hand it out (tiles and panoramas of Chicago, NewYork, SanFrancisco, Seattle; label
files in `splits/`). It is resized once into `--config.data.data_dir` at the first start. All four cities train
(52,609 panoramas) and all four are tested (52,605 panoramas against 90,618 tiles). Of those that train a block of 5 % a
city is held out to select a checkpoint; with `--config.data.validation_fraction=0` all train, and the last one counts.
Weights: VGG-16 of ImageNet, as the paper has it, from a file you have (torchvision, Keras or the authors'
vgg16.npy). Without it the towers start at random and the published figures are out of reach.
Hardware: one accelerator with 16 GB (a step's temporaries are planned as 11.3 GiB; none was tried). 2, 4, 8 or 16 share
the batch of 16, more need a larger one (docs/multihost.md).
Time: not measured.
Expect (percent, published; top-1, top-5, top-1%, hit rate):
    siamese_vgg            18.1 42.5 97.5 21.2   global average pool, one fully connected layer shared by both towers
    safa                   33.9 58.4 98.2 36.9   spatial-aware aggregation with eight heads
    safa_mining            38.0 62.9 97.6 41.8   half of each batch from the hardest tiles, from epoch 2 on
    hybrid (default)       41.1 65.8 98.4 44.7   30 epochs of safa_mining, then 15 with the IOU and the offset loss
    hybrid_classification                        the same with the offset as one of 10 x 10 cells
An independent reproduction of SAFA reached 29.1, 53.3, 97.6, 31.5.

Variants are these methods, a backbone and `rendered`, joined by commas: `--config=configs/same_area.py:safa,rendered`.
The latter runs the same recipe on images of the rendered city: no download; see docs/data.md.
Backbones are all of vigor_jax/models/registry.py, as in `--config=configs/same_area.py:safa,mobilenet_0.5`, with a
weight file of that backbone. The recipe stays that of VGG-16, and nothing is published or was measured of another
backbone: expect to search for a learning rate.
"""

from collections.abc import Sequence

import ml_collections

METHODS = ("siamese_vgg", "safa", "safa_mining", "hybrid", "hybrid_classification")
VARIANTS = (*METHODS, "rendered")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    chosen = [part for part in variant.split(",") if part]
    method, named = method_and_backbone(chosen, VARIANTS)
    method = method or "hybrid"
    hybrid = method.startswith("hybrid")

    config = ml_collections.ConfigDict()
    config.name = "-".join(["same_area", *chosen])
    config.task = "cross_view"
    config.seed = 0
    config.epochs = 45 if hybrid else 30

    config.data = ml_collections.ConfigDict()
    config.data.name = "vigor"
    config.data.root = "data/VIGOR"
    config.data.data_dir = "data/prepared"
    config.data.train_cities = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
    config.data.test_cities = ()
    config.data.protocols = ("same_area",)
    config.data.aerial_size = (320, 320)  # the authors'
    config.data.ground_size = (320, 640)
    # Positions in the file names are exact; the published offsets assume one resolution for every city.
    config.data.labels = "either"
    config.data.offsets = "web_mercator"
    config.data.validation_fraction = 0.05  # some 2,600 queries: a standard error of top-1 below one point

    config.model = ml_collections.ConfigDict()
    config.model.aggregation = "fully_connected" if method == "siamese_vgg" else "safa"
    config.model.width = 1.0
    config.model.num_heads = 8
    config.model.descriptor_dim = 4096
    config.model.dropout = 0.2
    config.model.centre_descriptor = False
    config.model.offset_head = {"hybrid": "regression", "hybrid_classification": "classification"}.get(method, "none")
    config.model.cell_position = "best"
    config.model.dtype = "bfloat16"
    config.model.pretrained = ""

    config.loss = ml_collections.ConfigDict()
    config.loss.alpha = 10.0  # the paper's
    # The weights of the authors' code; the paper writes a plain sum.
    config.loss.iou_weight = 0.1 if hybrid else 0.0
    config.loss.iou_form = "ratio"
    config.loss.offset_weight = 0.01 if hybrid else 0.0
    config.loss.hybrid_from_epoch = 31 if hybrid else 1
    config.loss.uncovering_semi_positives = "keep"  # their overlap is exact too

    config.mining = ml_collections.ConfigDict()
    config.mining.enabled = hybrid or method == "safa_mining"
    # The authors' numbers; in the first epoch their pool is filled.
    config.mining.capacity = 40_000
    config.mining.hardest = 100
    config.mining.from_epoch = 2

    config.optimizer = ml_collections.ConfigDict()
    # The authors', for batches of 14 and 10. Nothing was measured of scaling it to 16, where the rules of the field
    # would have 4 to 14 % more.
    config.optimizer.learning_rate = 1e-5
    config.optimizer.decay_rate = 0.1
    # The authors' 150,000 batches of 14 in batches of 16, so that the rate is theirs after as many pairs.
    config.optimizer.decay_steps = 131_250
    config.optimizer.warmup_steps = 0

    config.batch = ml_collections.ConfigDict()
    # The authors' one GPU held 14, and 10 in the hybrid phase, with a second tile a pair; 14 cannot be shared by 4, 8
    # or 16 devices. The more, the harder the negatives.
    config.batch.size = 16
    config.batch.one_city = False
    config.batch.augment = False

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 64
    config.log_every_steps = 50
    config.checkpoint_every_steps = 1000
    config.checkpoints_to_keep = 3

    if named:
        backbone(config, named)
    if "rendered" in chosen:
        rendered(config)
    return config


def method_and_backbone(chosen: Sequence[str], variants: Sequence[str]) -> tuple[str | None, str | None]:
    """The method and the backbone among the parts of a variant, each None where none is named.

    Raises:
      ValueError: a part is neither a variant nor a backbone, or two of a kind are named.
    """
    others = [part for part in chosen if part not in variants]
    if others:
        from vigor_jax.models.registry import BACKBONES  # loads JAX, which a misspelt flag need not wait for

        unknown = [part for part in others if part not in BACKBONES]
        if unknown:
            raise ValueError(
                f"there is no variant {unknown[0]!r} of this config. Variants: {', '.join(variants)}; backbones: "
                f"{', '.join(BACKBONES)}."
            )
    methods = [part for part in chosen if part in METHODS]
    for kind, parts in (("methods", methods), ("backbones", others)):
        if len(parts) > 1:
            raise ValueError(f"{' and '.join(parts)} are different {kind}: name one of them.")
    return (*methods, None)[0], (*others, None)[0]


def backbone(config: ml_collections.ConfigDict, name: str) -> None:
    """Puts another backbone into a recipe, in place."""
    from vigor_jax.models.registry import entry

    config.model.backbone = name
    if entry(name).normalises_by_batch:
        # Running statistics that follow within a hundred steps: MobileNet's own take thousands, and lag behind weights
        # that move from ImageNet to tiles and panoramas.
        config.model.norm_momentum = 0.99
    if name.startswith("vit"):
        # Whole patches: the margin beyond them would not be seen.
        patch = int(name.rpartition("_")[2])
        for key in ("aerial_size", "ground_size"):
            config.data[key] = tuple(-(-side // patch) * patch for side in config.data[key])


def rendered(config: ml_collections.ConfigDict) -> None:
    """Points a VIGOR recipe at the rendered city, in place."""
    from vigor_jax.datasets.rendered_city.city import TEST_CITIES, TRAIN_CITIES

    config.data.name = "rendered_city"
    config.data.root = ""
    config.data.train_cities = TRAIN_CITIES
    if "cross_area" in config.data.protocols:
        config.data.test_cities = TEST_CITIES
    # No photographs, so no ImageNet weights to start from: random towers need ten times the step, and
    # descriptors that are all alike at first stay so (loss ln 2) unless their mean is taken off.
    config.optimizer.learning_rate = 1e-4
    config.model.centre_descriptor = True
    config.loss.iou_form = "difference"  # centred similarities pass through zero, and the quotient explodes there
    config.batch.one_city = True  # telling cities apart must not pay
