"""VIGOR, same-area protocol: the paper's baselines (Zhu, Yang, Chen, CVPR 2021, section 5).

    python main.py --config=configs/same_area.py --config.data.root=/path/to/VIGOR \
        --config.model.pretrained=/path/to/vgg16-397923af.pth

Data: VIGOR as its authors hand it out (tiles and panoramas of Chicago, NewYork, SanFrancisco, Seattle; label
files in `splits/`). It is resized once into `--config.data.data_dir` at the first start. All four cities train
(52,609 panoramas) and all four are tested (52,605 panoramas against 90,618 tiles).
Weights: VGG-16 of ImageNet, as the paper has it, from a file you have (torchvision, Keras or the authors'
vgg16.npy). Without it the towers start at random and the published figures are out of reach.
Hardware: one accelerator with 16 GB; more devices share the batch (choose a batch size that they divide).
Time: not measured.
Expect (percent, published): SAFA top-1 33.9, top-5 58.4, top-1% 98.2, hit rate 36.9; Siamese-VGG 18.1, 42.5,
97.5, 21.2. An independent reproduction of SAFA reached 29.1, 53.3, 97.6, 31.5.

Variants, joined by commas, e.g. `--config=configs/same_area.py:siamese_vgg,rendered`:
    safa         spatial-aware aggregation with eight heads (default)
    siamese_vgg  global average pool and one fully connected layer shared by both towers
    rendered     the same recipe on images of the rendered city: no download; see docs/data.md
"""

import ml_collections

VARIANTS = ("safa", "siamese_vgg", "rendered")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    chosen = [part for part in variant.split(",") if part]
    for part in chosen:
        if part not in VARIANTS:
            raise ValueError(f"there is no variant {part!r} of this config. Variants: {', '.join(VARIANTS)}.")
    if "safa" in chosen and "siamese_vgg" in chosen:
        raise ValueError("safa and siamese_vgg are two models: name one of them.")
    siamese = "siamese_vgg" in chosen

    config = ml_collections.ConfigDict()
    config.name = "-".join(["same_area", *chosen])
    config.task = "cross_view"
    config.seed = 0
    config.epochs = 30

    config.data = ml_collections.ConfigDict()
    config.data.name = "vigor"
    config.data.root = "data/VIGOR"
    config.data.data_dir = "data/prepared"
    config.data.train_cities = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
    config.data.test_cities = ()
    config.data.protocols = ("same_area",)
    config.data.aerial_size = (320, 320)
    config.data.ground_size = (320, 640)
    # Positions in the file names are exact; the published offsets assume one resolution for every city.
    config.data.labels = "either"
    config.data.offsets = "web_mercator"
    config.data.validation_fraction = 0.05

    config.model = ml_collections.ConfigDict()
    config.model.aggregation = "fully_connected" if siamese else "safa"
    config.model.width = 1.0
    config.model.num_heads = 8
    config.model.descriptor_dim = 4096
    config.model.dropout = 0.2
    config.model.centre_descriptor = False
    config.model.dtype = "bfloat16"
    config.model.pretrained = ""

    config.loss = ml_collections.ConfigDict()
    config.loss.alpha = 10.0

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-5
    config.optimizer.decay_rate = 0.1
    config.optimizer.decay_steps = 150_000
    config.optimizer.warmup_steps = 0

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 14  # what the authors' one GPU held; the more, the harder the negatives
    config.batch.one_city = False
    config.batch.augment = False

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 64
    config.log_every_steps = 50
    config.checkpoint_every_steps = 1000
    config.checkpoints_to_keep = 3
    config.input_threads = 16

    if "rendered" in chosen:
        rendered(config)
    return config


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
    config.batch.one_city = True  # telling cities apart must not pay
