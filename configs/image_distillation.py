"""A MobileNet of a quarter of the width that learns the embeddings of a wider classifier, on photos without labels.

    python main.py --config=configs/grocery.py --config.images.root=/path/to/grocery128.zip             (the teacher)
    python main.py --config=configs/image_distillation.py --config.images.root=/path/to/grocery128.zip  (the student)

The student learns what its teacher's logits are made of, 512 numbers scaled to unit length, of every training photo as
it is cut and mirrored; a linear layer takes its own 256 features there. No label is read (MobileNet, section 2.7), so
`--config.images.name=image_folders --config.images.root=DIR` trains on images in any folders of DIR instead, whatever
these are called. --config.distillation.teacher=DIR names another run; a weight file teaches too, with the backbone that
it is of as --config.distillation.teacher_backbone.

Data: the Grocery Store photos as of configs/grocery.py; its held-out photos select the checkpoint.
Hardware: two CPU cores. Time: four minutes, and five for the teacher.
Expect (three seeds): in the test a squared `distance` of 0.215 +- 0.017 from the teacher's embeddings, where the
nearest constant is 0.785 off; an `agreement` of 41.8 +- 3.7 %, where pixels have 16.6: how often the nearest neighbour
among the photos of the split is the teacher's (docs/results.md). Nothing was tuned.
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r} of this config.")

    config = ml_collections.ConfigDict()
    config.name = "image_distillation"
    config.task = "image_distillation"
    config.seed = 0
    config.epochs = 40

    config.images = ml_collections.ConfigDict()
    config.images.name = "grocery"
    config.images.root = "data/grocery128.zip"
    config.images.data_dir = "data/prepared"
    config.images.stored_side = 128  # as the photos are
    config.images.validation_fraction = 0.1
    config.images.crop = 96  # the teacher's
    config.images.scales = (96, 128)  # from all of a photo to 56 % of it
    config.images.mirror = True
    config.images.colour_shift = 0.1  # it need not be the teacher's, which sees what the student sees

    config.classifier = ml_collections.ConfigDict()
    config.classifier.backbone = "mobilenet_0.25"
    config.classifier.norm_momentum = 0.9  # of statistics that arrive within so short a run
    config.classifier.dtype = "float32"  # CPUs compute bfloat16 slower
    config.classifier.test_scales = (112,)  # the mean of the training scales

    config.distillation = ml_collections.ConfigDict()
    config.distillation.teacher = "runs/grocery"

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 2e-3
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
