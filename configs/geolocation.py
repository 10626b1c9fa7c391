"""Where on earth a photo was taken: PlaNet's classification over S2 cells, with MobileNet (section 4.6 of its paper).

    pip install '.[geocells]'
    python main.py --config=configs/geolocation.py --config.images.root=/path/to/photos
    python main.py --config=configs/geolocation.py:rendered                                  (no data, no accelerator)

Data: a folder of photos with `positions.csv`, a line each: photo,lat,lon (docs/data.md). Read docs/geolocation.md
before you train on people's photos.
Hardware: one accelerator, or as many as divide the batch of 256; none was tried. `rendered` takes two CPU cores.
Time: not measured; of `rendered` some three minutes (docs/results.md).
Expect: the figures of PlaNet and of MobileNet's paper (table 11) are of PlaNet's 91 million photos, which are not
public. With fewer photos there are fewer cells, and nothing published to compare with. What `rendered` finds says
docs/results.md. A value without a reason beside it is not known to be better than others.

`rendered`: photos cut from the panoramas of fourteen rendered cities, which lie on three continents. It shows the way
from positions to kilometres; what it learns is how the cities' streets look, and nothing of the earth.
"""

import ml_collections

VARIANTS = ("rendered",)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant and variant not in VARIANTS:
        raise ValueError(f"there is no variant {variant!r} of this config. Variants: {', '.join(VARIANTS)}.")
    config = ml_collections.ConfigDict()
    config.name = "-".join(["geolocation", *filter(None, [variant])])
    config.task = "geolocation"
    config.seed = 0
    config.epochs = 30  # no such data set was at hand to choose it by

    config.images = ml_collections.ConfigDict()
    config.images.name = "photo_positions"
    config.images.root = "data/photos"
    config.images.data_dir = "data/prepared"
    config.images.stored_side = 256
    config.images.validation_fraction = 0.05
    config.images.crop = 224
    config.images.scales = (256, 256)  # crops show 77 % of a photo that is as high as wide
    config.images.mirror = False  # signs, and the side of the road that cars take, tell countries apart
    config.images.colour_shift = 0.0

    config.classifier = ml_collections.ConfigDict()
    config.classifier.backbone = "mobilenet_1.0"
    config.classifier.dtype = "bfloat16"
    config.classifier.test_scales = (256,)  # the middle of what training crops are taken from

    config.geocells = ml_collections.ConfigDict()
    # PlaNet's limits are for 91 million photos. These make some thousand classes of a million.
    config.geocells.most = 2000
    config.geocells.fewest = 50
    config.geocells.deepest = 12  # some 2 km: no class is anybody's street
    config.geocells.place_at = "most_probable"

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "exponential"
    config.optimizer.decay_rate = 0.1
    config.optimizer.decay_steps = 100_000
    config.optimizer.warmup_steps = 1000

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 256

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 256
    config.log_every_steps = 50
    config.checkpoint_every_steps = 2000
    config.checkpoints_to_keep = 3
    if variant:
        _rendered(config)
    return config


def _rendered(config: ml_collections.ConfigDict) -> None:
    """Makes it a matter of minutes on two CPU cores, without data."""
    config.epochs = 12
    config.images.name = "rendered_city"
    config.images.root = ""
    config.images.stored_side = 64  # panoramas of 64 x 128
    config.images.validation_fraction = 0.1
    config.images.crop = 64  # half of a panorama, in any direction
    config.images.scales = (64, 64)
    config.classifier.backbone = "mobilenet_0.5"
    config.classifier.norm_momentum = 0.9  # some 1,900 steps
    config.classifier.dtype = "float32"  # CPUs compute bfloat16 slower
    config.classifier.test_scales = (64,)
    # A cell ends at some 36 km, so that each holds a whole city, of some 370 training photos.
    config.geocells.most = 300
    config.geocells.fewest = 50
    config.geocells.deepest = 8
    config.optimizer.learning_rate = 3e-3
    config.optimizer.decay_rate = 0.05
    config.optimizer.decay_steps = 1900  # about all steps
    config.optimizer.warmup_steps = 50
    config.batch.size = 32
    config.evaluate_every_epochs = 4
    config.eval_batch_size = 64
    config.log_every_steps = 50
    config.checkpoint_every_steps = 500
    config.checkpoints_to_keep = 2
