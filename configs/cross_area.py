"""VIGOR, cross-area protocol: train in two cities, be tested in two unseen ones (CVPR 2021, section 5).

    python main.py --config=configs/cross_area.py --config.data.root=/path/to/VIGOR \
        --config.model.pretrained=/path/to/vgg16-397923af.pth

Data: VIGOR; NewYork and Seattle train (51,520 panoramas), Chicago and SanFrancisco are tested (53,694 panoramas
against 46,563 tiles). Everything else as in configs/same_area.py, also what is held out of those that train, and the
variants, backbones among them.
Hardware: one accelerator with 16 GB (a step's temporaries are planned as 11.3 GiB; none was tried). 2, 4, 8 or 16 share
the batch of 16, more need a larger one (docs/multihost.md).
Time: not measured.
Expect (percent, published; top-1, top-5, top-1%, hit rate):
    siamese_vgg             2.7  8.2 61.7  3.1
    safa                    8.2 19.6 77.6  8.9
    safa_mining             9.2 21.1 77.8  9.9
    hybrid (default)       11.0 23.6 80.2 11.6   11 epochs of safa_mining, then 10 hybrid
    hybrid_classification
This is the honest protocol: same-area train and test share over 60 % of their positive tiles.

A root that holds other cities is trained and tested on by naming them:
    --config.data.train_cities="('NewYork','Seattle')" --config.data.test_cities="('Chicago',)"
"""

import ml_collections

from configs import same_area

VARIANTS = same_area.VARIANTS


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    chosen = [part for part in variant.split(",") if part]
    config = same_area.get_config(",".join(part for part in chosen if part != "rendered"))
    config.name = "-".join(["cross_area", *chosen])
    # The authors stop earlier here: the unseen cities peak sooner.
    config.epochs = 11
    if config.loss.iou_weight:
        config.loss.hybrid_from_epoch = config.epochs + 1
        config.epochs += 10
    config.data.train_cities = ("NewYork", "Seattle")
    config.data.test_cities = ("Chicago", "SanFrancisco")
    config.data.protocols = ("cross_area",)
    if "rendered" in chosen:
        same_area.rendered(config)
    return config
