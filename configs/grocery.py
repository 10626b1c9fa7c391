"""The Grocery Store photos, small, from random weights: what a classifier learns in minutes without an accelerator.

    python main.py --config=configs/grocery.py --config.images.root=/path/to/grocery128.zip

Data: the .zip of the Grocery Store data set (Klasson, Zhang, Kjellstrom, WACV 2019) at 128 x 128 pixels; 81 classes of
fruit, vegetables and packages. A tenth of its training photos, held out by their names, selects the checkpoint; its
own validation photos are the test (docs/data.md).
Hardware: two CPU cores. Time: five minutes.
Expect (percent, three seeds): test top-1 33.1 +- 4.2, top-5 68.3; guessing 1.2 and 6.2, nearest pixels 7.4. Validation
top-1 is 84.8, for held-out photos are much more like those that train than the test's are (docs/results.md).
A value without a reason beside it is not known to be better than others.

Variants: `coarse`, the 43 classes that the 81 are grouped into.
"""

import ml_collections

VARIANTS = ("coarse",)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant and variant not in VARIANTS:
        raise ValueError(f"there is no variant {variant!r} of this config. Variants: {', '.join(VARIANTS)}.")

    config = ml_collections.ConfigDict()
    config.name = "-".join(["grocery", *filter(None, [variant])])
    config.task = "classification"
    config.seed = 0
    config.epochs = 30  # minutes; the loss still falls, and with it the held-out error

    config.images = ml_collections.ConfigDict()
    config.images.name = "grocery"
    config.images.root = "data/grocery128.zip"
    config.images.data_dir = "data/prepared"
    config.images.stored_side = 128  # as the photos are
    config.images.classes = variant or "fine"
    config.images.validation_fraction = 0.1
    config.images.crop = 96
    config.images.scales = (96, 128)  # from all of a photo to 56 % of it
    config.images.mirror = True
    # The colour tells many of the classes apart, so it may vary, but by no more than published.
    config.images.colour_shift = 0.1

    config.classifier = ml_collections.ConfigDict()
    config.classifier.backbone = "mobilenet_0.5"  # of two widths the better one on the held-out photos
    config.classifier.dropout = -1.0  # 0.001, the paper's
    config.classifier.norm_momentum = 0.9  # the published 0.9997 still remembers the first step at the end of this run
    config.classifier.dtype = "float32"  # CPUs compute bfloat16 slower
    config.classifier.pretrained = ""
    config.classifier.test_scales = (112,)  # the mean of the training scales

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 0.02
    config.optimizer.schedule = "cosine"
    config.optimizer.decay_steps = 74 * config.epochs  # all steps
    config.optimizer.warmup_steps = 74  # an epoch

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 32  # 74 steps an epoch of 2,375 photos

    config.evaluate_every_epochs = 5
    config.eval_batch_size = 64
    config.log_every_steps = 74  # an epoch
    config.checkpoint_every_steps = 740  # ten epochs
    config.checkpoints_to_keep = 1  # beside the best
    return config
