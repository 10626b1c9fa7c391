"""The run that the campaign breaks: the whole method, small enough that a start costs seconds."""

import ml_collections

STEPS_PER_EPOCH = 10
STEPS = 2 * STEPS_PER_EPOCH


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r} of this config")
    config = ml_collections.ConfigDict()
    config.name = "tiny_city"
    config.task = "cross_view"
    config.epochs = 2

    config.data = ml_collections.ConfigDict()
    config.data.name = "rendered_city"
    config.data.train_cities = ("Ashford",)
    config.data.protocols = ("same_area",)
    config.data.aerial_size = (32, 32)
    config.data.ground_size = (32, 64)
    config.data.validation_fraction = 0.1

    config.rendered_city = ml_collections.ConfigDict()
    config.rendered_city.seed = 7
    config.rendered_city.train_tiles_per_side = 10

    config.model = ml_collections.ConfigDict()
    config.model.aggregation = "safa"
    config.model.backbone = "vgg11"
    config.model.width = 0.05
    config.model.num_heads = 2
    config.model.dropout = 0.1  # so that a resume with the wrong random numbers is noticed
    config.model.offset_head = "regression"
    config.model.final_pool = False
    config.model.aggregation_std = 0.02
    config.model.centre_descriptor = True
    config.model.dtype = "float32"

    config.loss = ml_collections.ConfigDict()
    config.loss.alpha = 5.0
    config.loss.iou_form = "difference"
    config.loss.iou_weight = 0.1
    config.loss.offset_weight = 0.01
    config.loss.hybrid_from_epoch = 2

    config.mining = ml_collections.ConfigDict()
    config.mining.enabled = True
    config.mining.hardest = 5
    config.mining.from_epoch = 2

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 1e-3

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 8
    config.batch.augment = True

    config.eval_batch_size = 16
    config.log_every_steps = 2  # so that a stop can fall between two rows
    config.checkpoint_every_steps = 4
    config.checkpoints_to_keep = 2
    config.input_threads = 2
    return config
