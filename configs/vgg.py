"""VGG on ImageNet: the networks of Simonyan and Zisserman, ICLR 2015, trained and tested as in sections 3 and 4.1.

    python main.py --config=configs/vgg.py:vgg16 --config.images.root=/path/to/ImageNet           (S = 256)
    python main.py --config=configs/vgg.py:vgg16,384 --config.images.root=/path/to/ImageNet       (S = 384)
    python main.py --config=configs/vgg.py:vgg16,jitter --config.images.root=/path/to/ImageNet    (S drawn)

Data: ILSVRC 2012 as its site hands it out (docs/data.md). A hundredth of the training images selects the checkpoint and
cuts the learning rate; the authors let the 50,000 validation images do both, here they test.
Hardware: 1 to 256 accelerators, as many as divide the batch of 256 and hold their part. None was tried.
Time: not measured. The authors took two to three weeks for a network on four GPUs of 2013.
Expect (percent, published; top-1 / top-5 error at one test scale Q, validation images; docs/results.md has more):
    vgg11                256: 29.6 / 10.4
    vgg11_lrn            256: 29.7 / 10.5
    vgg13                256: 28.7 / 9.9
    vgg16_1x1            256: 28.1 / 9.4      384: 28.1 / 9.3      jitter: 27.3 / 8.8
    vgg16 (default)      256: 27.0 / 8.8      384: 26.8 / 8.7      jitter: 25.6 / 8.1
    vgg19                256: 27.3 / 9.0      384: 26.9 / 8.7      jitter: 25.5 / 8.0
Nothing of this was measured here. What to compare is 1 - `test/dense_top1` of summary.json: the published networks are
tested on whole images and their mirror images, which is done once, at the end. Every evaluation before it and
`test/top1` are of one crop, which finds less.

Variants are a network and the training scale S, joined by a comma: `256` (default) and `384`, to which the shorter side
is scaled, or `jitter`, S drawn from 256 to 512 for every image. As in the paper 384 goes on from the finished run of
256 in runs/vgg-NETWORK, and jitter from that of 384 in runs/vgg-NETWORK-384, each at a tenth of the rate: train these
first, or name other weights as `--config.classifier.pretrained`. Each tests at one scale, Q = S or 384 for `jitter`.
Table 4 averages over S - 32, S and S + 32, `--config.classifier.test_scales="(224,256,288)"`, and of `jitter` over
`"(256,384,512)"`; `--config.classifier.test_protocol=dense_and_multi_crop` tests as in table 5.

All start from Glorot's initialisation, with which the authors trained deep networks after their submission. Before it
they trained A first, from kernels of a standard deviation of 0.01, and put its outer layers into the others:

    python main.py --config=configs/vgg.py:vgg11 --config.classifier.initialisation=normal ...   (A, in runs/vgg-vgg11)
    python main.py --config=configs/vgg.py:vgg16 --config.classifier.initialisation=normal \
        --config.classifier.shallower=runs/vgg-vgg11 ...
"""

import ml_collections

NETWORKS = ("vgg11", "vgg11_lrn", "vgg13", "vgg16_1x1", "vgg16", "vgg19")
SCALES = {"256": (256, 256), "384": (384, 384), "jitter": (256, 512)}
VARIANTS = (*NETWORKS, *SCALES)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    chosen = [part for part in variant.split(",") if part]
    for part in chosen:
        if part not in VARIANTS:
            raise ValueError(f"there is no variant {part!r} of this config. Variants: {', '.join(VARIANTS)}.")
    networks = [part for part in chosen if part in NETWORKS] or ["vgg16"]
    scales = [part for part in chosen if part in SCALES] or ["256"]
    for parts, what in ((networks, "networks"), (scales, "training scales")):
        if len(parts) > 1:
            raise ValueError(f"{' and '.join(parts)} are different {what}: name one of them.")
    network, scale = networks[0], scales[0]
    workdir = f"runs/vgg-{network}"
    starts_from = {"256": "", "384": workdir, "jitter": f"{workdir}-384"}[scale]

    config = ml_collections.ConfigDict()
    config.name = f"vgg-{network}" if scale == "256" else f"vgg-{network}-{scale}"
    config.task = "classification"
    config.seed = 0
    # 370,000 steps, by when the paper stopped; how long it went on with another S it does not say.
    config.epochs = 74

    config.images = ml_collections.ConfigDict()
    config.images.name = "imagenet"
    config.images.root = "data/ImageNet"
    config.images.data_dir = "data/prepared"
    # The largest Q of table 4: what is stored larger is scaled down in any case, smaller would be blown up.
    config.images.stored_side = 512 if scale == "jitter" else int(scale) + 32
    config.images.validation_fraction = 0.01  # 12,800 images: a standard error of 0.4 points
    config.images.crop = 224
    config.images.scales = SCALES[scale]
    config.images.mirror = True
    config.images.colour_shift = 0.1  # Krizhevsky et al., 2012, section 4.1

    config.classifier = ml_collections.ConfigDict()
    config.classifier.backbone = network
    config.classifier.dropout = 0.5  # after the first two fully connected layers
    config.classifier.dtype = "bfloat16"
    config.classifier.pretrained = starts_from
    if not starts_from:
        # "The mean RGB value" is all that is subtracted. He's kernels would keep the size of such pixels through all
        # layers and begin at a loss of some 300, Glorot's begin at ln 1000.
        config.classifier.preprocessing = "imagenet_mean"
        config.classifier.initialisation = "glorot"
    config.classifier.test_protocol = "dense"
    config.classifier.test_scales = (384,) if scale == "jitter" else (int(scale),)  # table 3

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.name = "sgd"
    # The paper says 1e-3 of 384 and nothing of jitter.
    config.optimizer.learning_rate = 1e-3 if starts_from else 1e-2
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    # A tenth whenever the validation accuracy stops rising: three times in all, in the paper.
    config.optimizer.schedule = "plateau"
    config.optimizer.plateau_factor = 0.1
    config.optimizer.plateau_patience = 3  # evaluations, one an epoch; the paper does not say

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 256

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 256
    config.log_every_steps = 100
    config.checkpoint_every_steps = 1000
    config.checkpoints_to_keep = 2
    return config
