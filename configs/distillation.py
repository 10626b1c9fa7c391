"""A MobileNet that learns the embeddings of the demo's model and finds as much, at a sixth of its multiply-adds.

    python main.py --config=configs/demo.py                     (the teacher, in runs/demo)
    python main.py --config=configs/distillation.py             (the student)

The student sees the same images as its teacher, both views of them turned and mirrored, and learns its teacher's unit
embedding of each: no label, no negative (MobileNet, section 2.7). As it needs no labels it sees the images of twelve
rendered cities, six of which its teacher never saw; the test splits are the teacher's.
--config.distillation.teacher=DIR names another teacher; its images must be of the same size.

Data: twelve training cities and two unseen ones, rendered at the first start.
Hardware: two CPU cores. Time and what to expect: docs/results.md. Beside every recall the table and summary.json have
the teacher's (`<split>/teacher_top1`), and `<split>/top1_of_teacher` is the student's share of it.
"""

import ml_collections

from configs import demo


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    if variant:
        raise ValueError(f"there is no variant {variant!r} of this config.")
    from vigor_jax.datasets.rendered_city.city import TRAIN_CITIES

    config = demo.get_config()
    config.name = "distillation"
    config.task = "cross_view_distillation"
    config.epochs = 20  # with half the steps 87 % of the teacher's top-1 in validation instead of 96 %

    config.distillation = ml_collections.ConfigDict()
    config.distillation.teacher = "runs/demo"
    config.distillation.projection = True  # its bias is what the student has in place of centring

    config.data.train_cities = TRAIN_CITIES

    config.model.backbone = "mobilenet_0.25"
    config.model.width = 1.0
    # 8 x 8 and 8 x 16 positions of 64 channels; to stride 16 it is twice the work, and the loss falls more slowly.
    config.model.stride = 8
    config.model.norm_momentum = 0.9  # of statistics that arrive within some steps of so short a run
    config.model.centre_descriptor = False

    # Distillation reads neither.
    del config.loss
    del config.mining

    config.optimizer.decay_steps = 2380  # all steps, as in the demo
    config.batch.one_city = False  # there are no negatives that a city's own tiles would make harder
    config.evaluate_every_epochs = 20
    return config
