"""The rendered city, small: see the whole of vigor_jax work without data or accelerator.

python main.py --config=configs/demo.py
"""

import ml_collections


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant:
        raise ValueError(f"this config has no variants, so no {variant!r}.")
    from vigor_jax.datasets.rendered_city.city import TEST_CITIES, TRAIN_CITIES

    config = ml_collections.ConfigDict()
    config.name = "demo"
    config.task = "cross_view"
    config.seed = 0
    config.epochs = 6

    config.data = ml_collections.ConfigDict()
    config.data.name = "rendered_city"
    config.data.data_dir = "data/prepared"
    config.data.train_cities = TRAIN_CITIES
    config.data.test_cities = TEST_CITIES
    config.data.protocols = ("same_area", "cross_area")
    config.data.aerial_size = (80, 80)
    config.data.ground_size = (80, 160)
    config.data.validation_fraction = 0.05

    config.rendered_city = ml_collections.ConfigDict()
    config.rendered_city.train_tiles_per_side = 18
    config.rendered_city.test_tiles_per_side = 14

    config.model = ml_collections.ConfigDict()
    config.model.aggregation = "safa"
    config.model.width = 0.25
    config.model.num_heads = 8
    config.model.centre_descriptor = True  # random towers start with descriptors that are all alike
    config.model.dtype = "float32"  # CPUs compute bfloat16 slower

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.learning_rate = 5e-4

    config.batch = ml_collections.ConfigDict()
    config.batch.size = 32
    config.batch.one_city = True  # otherwise the loss falls by telling cities apart

    config.evaluate_every_epochs = 1
    config.eval_batch_size = 64
    config.log_every_steps = 10
    config.checkpoint_every_steps = 100
    config.input_threads = 2
    return config
