"""MobileNet on ImageNet: widths and resolutions of Howard et al., 2017 (arXiv 1704.04861).

    python main.py --config=configs/mobilenet.py:0.5,160 --config.images.root=/path/to/ImageNet

Data: ILSVRC 2012 as its site hands it out (docs/data.md). A hundredth of the training images selects the checkpoint;
the 50,000 validation images test.
Hardware: 1 to 64 accelerators, as many as divide the batch of 64. None was tried.
Time: not measured.
Expect (percent, published: top-1 by tables 6 and 7 of the paper, then top-1 / top-5 of weights that its authors gave
out later):
    1.0,224 (default)  70.6   70.9 / 89.9        0.75,224  68.4   68.4 / 88.2
    1.0,192            69.1   70.0 / 89.2        0.5,224   63.7   63.3 / 84.9
    1.0,160            67.2   68.0 / 87.7        0.25,224  50.6   49.8 / 74.2
    1.0,128            64.4   65.2 / 85.8
    convolutional      71.7   table 4: full convolutions in the place of the separable ones
    shallow            65.3   table 5: without the five blocks of 14 x 14 x 512
Nothing of this was measured here. Compare `test/top1` of summary.json: one crop of the middle 87.5 %, as TF-Slim tests.

Variants are a width, `convolutional` or `shallow`, and a resolution, joined by a comma: `--config=configs/mobilenet.py`
is 1.0,224.

The paper says RMSProp, asynchronous as in Inception-v3, and little augmentation, and prints no figures. Those below are
the defaults of TF-Slim's training program; the batch is that of its example for MobileNet, which takes plain gradient
descent.
"""

import ml_collections

NETWORKS = ("1.0", "0.75", "0.5", "0.25", "convolutional", "shallow")
RESOLUTIONS = ("224", "192", "160", "128")
VARIANTS = (*NETWORKS, *RESOLUTIONS)
_TRAINING_IMAGES = 1_281_167


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    chosen = [part for part in variant.split(",") if part]
    for part in chosen:
        if part not in VARIANTS:
            raise ValueError(f"there is no variant {part!r} of this config. Variants: {', '.join(VARIANTS)}.")
    networks = [part for part in chosen if part in NETWORKS] or ["1.0"]
    resolutions = [part for part in chosen if part in RESOLUTIONS] or ["224"]
    for parts, what in ((networks, "networks"), (resolutions, "resolutions")):
        if len(parts) > 1:
            raise ValueError(f"{' and '.join(parts)} are different {what}: name one of them.")
    side = int(resolutions[0])
    scale = side * 8 // 7  # 256 for 224: the middle 87.5 %, as TF-Slim tests

    config = ml_collections.ConfigDict()
    config.name = "-".join(["mobilenet", *chosen])
    config.task = "classification"
    config.seed = 0
    config.epochs = 100  # the rate has fallen to a twentieth by then; the paper does not say how long it trained

    config.images = ml_collections.ConfigDict()
    config.images.name = "imagenet"
    config.images.root = "data/ImageNet"
    config.images.data_dir = "data/prepared"
    config.images.stored_side = 298  # the largest scale of all resolutions: no image is blown up, and all share it
    config.images.validation_fraction = 0.01
    config.images.crop = side
    # "Less regularization and data augmentation" than large models have: crops of 75 % to all of the shorter side.
    config.images.scales = (side, side * 4 // 3)
    config.images.mirror = True
    config.images.colour_shift = 0.0

    config.classifier = ml_collections.ConfigDict()
    config.classifier.backbone = f"mobilenet_{networks[0]}"
    config.classifier.dropout = -1.0  # 0.001
    config.classifier.norm_momentum = 0.0  # 0.9997: statistics over several thousand steps
    config.classifier.dtype = "bfloat16"
    config.classifier.pretrained = ""
    config.classifier.test_scales = (scale,)

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 64

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "rmsprop"  # decay 0.9, epsilon 1 within the root: `train/optimizer.py`
    config.optimizer.learning_rate = 0.01
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 4e-5  # not of the depthwise filters (section 3.2: "little or no weight decay")
    config.optimizer.schedule = "staircase"
    config.optimizer.decay_rate = 0.94
    images = round(_TRAINING_IMAGES * (1 - config.images.validation_fraction))
    config.optimizer.decay_steps = 2 * (images // config.batch.size)  # every two epochs

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 256
    config.log_every_steps = 100
    config.checkpoint_every_steps = 2000
    config.checkpoints_to_keep = 2
    return config
