"""Every shipped recipe and variant is valid, and says how to run it."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from vigor_jax import config as config_schema
from vigor_jax import tasks
from vigor_jax.models import registry
from vigor_jax.tasks.cross_view.config import PairConfig
from vigor_jax.tasks.cross_view.towers import check_towers

HOSTS = Path(__file__).parents[2] / "docs" / "multihost.md"
_CONFIGS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.py"))


def _recipes() -> list[tuple[str, str]]:
    recipes = []
    for name in _CONFIGS:
        variants = getattr(importlib.import_module(f"configs.{name}"), "VARIANTS", ())
        recipes += [(name, ""), *((name, variant) for variant in variants)]
    methods = importlib.import_module("configs.same_area").METHODS
    return [*recipes, *((name, f"{method},rendered") for name in ("same_area", "cross_area") for method in methods)]


@pytest.mark.parametrize(("name", "variant"), _recipes())
def test_a_recipe_passes_the_schema(name, variant):
    module = importlib.import_module(f"configs.{name}")
    parsed = tasks.parse(module.get_config(variant))
    assert parsed.name.startswith(name)
    if not isinstance(parsed, PairConfig):  # it trains on single images
        return
    assert ("siamese_vgg" in variant) == (parsed.model.aggregation == "fully_connected")
    assert (parsed.data.name == "rendered_city") == ("rendered" in variant or name in ("demo", "distillation"))


@pytest.mark.parametrize("name", ["demo", "same_area", "cross_area"])
@pytest.mark.parametrize(
    "backbone",
    [
        "vgg19",
        "mobilenet_0.5",
        "resnet50",
        "efficientnet_b0",
        "convnext_tiny",
        "swin_tiny",
        "vit_small_14",
    ],
)
def test_a_recipe_takes_a_backbone_beside_its_method(name, backbone):
    module = importlib.import_module(f"configs.{name}")
    config = tasks.parse(module.get_config(f"safa,{backbone}"))
    check_towers(config)
    assert config.name == f"{name}-safa-{backbone}"
    assert config.model.backbone == backbone
    plain = tasks.parse(module.get_config("safa"))
    assert (config.data.aerial_size == plain.data.aerial_size) == (backbone != "vit_small_14")
    same = {"name": plain.name, "model": plain.model, "data": plain.data, "optimizer": plain.optimizer}
    assert dataclasses.replace(config, **same) == plain


def test_the_default_method_stays_with_a_backbone():
    same_area = importlib.import_module("configs.same_area")
    assert same_area.get_config("resnet50,rendered").epochs == same_area.get_config().epochs == 45
    with pytest.raises(ValueError, match="resnet50 and vgg16 are different backbones"):
        same_area.get_config("resnet50,vgg16")


@pytest.mark.parametrize("name", _CONFIGS)
def test_a_recipe_tells_its_command_and_what_to_have_and_to_expect(name):
    told = importlib.import_module(f"configs.{name}").__doc__
    assert f"python main.py --config=configs/{name}.py" in told
    for part in ("Data:", "Hardware:", "Time", "xpect"):
        assert part in told


def test_runs_of_different_variants_have_different_workdirs():
    same_area = importlib.import_module("configs.same_area")
    names = {same_area.get_config(variant).name for variant in ("", "siamese_vgg", "rendered", "siamese_vgg,rendered")}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("cross_area", "safa_"),
        ("cross_area", "safa,siamese_vgg"),
        ("grocery", "medium"),
        ("vgg", "vgg17"),
        ("vgg", "vgg16,vgg19"),
        ("vgg", "256,jitter"),
        ("mobilenet", "0.3"),
        ("mobilenet", "0.5,shallow"),
        ("mobilenet", "160,128"),
    ],
)
def test_an_unknown_or_contradicting_variant_is_refused(name, variant):
    with pytest.raises(ValueError, match=r"variant|different (methods|networks|training scales|resolutions)"):
        importlib.import_module(f"configs.{name}").get_config(variant)


@pytest.mark.parametrize(("name", "variant"), _recipes())
def test_1_to_16_devices_share_the_batch_of_a_recipe(name, variant):
    size = parsed(name, variant).batch.size
    assert [devices for devices in (1, 2, 4, 8, 16) if size % devices] == []


def test_examples_of_many_hosts_set_a_batch_that_their_devices_share():
    examples = re.findall(r"main\.py --config=configs/cross_area\.py.*?(?:\n\n|\Z)", HOSTS.read_text(), re.DOTALL)
    assert len(examples) >= 5
    for example in examples:
        assert int(re.search(r"--config\.batch\.size=(\d+)", example)[1]) % 16 == 0


@pytest.mark.parametrize("name", ["same_area", "cross_area"])
def test_the_rate_of_vigor_is_its_authors_after_as_many_pairs(name):
    config = parsed(name)
    assert config.optimizer.learning_rate == 1e-5
    assert config.optimizer.decay_steps * config.batch.size == 150_000 * 14


def test_cross_area_is_the_published_protocol():
    config = tasks.parse(importlib.import_module("configs.cross_area").get_config())
    assert config.data.train_cities == ("NewYork", "Seattle")
    assert set(config.data.test_cities) == {"Chicago", "SanFrancisco"}
    assert config.optimizer.learning_rate == 1e-5
    assert config.loss.alpha == 10
    assert (config.epochs, config.loss.hybrid_from_epoch) == (21, 12)


@pytest.mark.parametrize(
    ("variant", "mines", "head", "epochs"),
    [
        ("siamese_vgg", False, "none", 30),
        ("safa", False, "none", 30),
        ("safa_mining", True, "none", 30),
        ("hybrid", True, "regression", 45),
        ("hybrid_classification", True, "classification", 45),
    ],
)
def test_the_methods_are_the_rows_of_table_3(variant, mines, head, epochs):
    config = tasks.parse(importlib.import_module("configs.same_area").get_config(variant))
    assert config.mining.enabled == mines
    assert config.mining.capacity == 40_000
    assert config.model.offset_head == head
    assert config.epochs == epochs
    hybrid = head != "none"
    assert (config.loss.iou_weight, config.loss.offset_weight) == ((0.1, 0.01) if hybrid else (0, 0))
    assert config.loss.hybrid_from_epoch == (31 if hybrid else 1)
    assert config.loss.is_hybrid == hybrid


def test_hybrid_is_the_default():
    same_area = importlib.import_module("configs.same_area")
    default, hybrid = (same_area.get_config(variant).to_dict() for variant in ("", "hybrid"))
    assert default | {"name": ""} == hybrid | {"name": ""}


def parsed(name: str, variant: str = "") -> config_schema.Config:
    return tasks.parse(importlib.import_module(f"configs.{name}").get_config(variant))


@pytest.mark.parametrize(
    ("variant", "scales", "stored", "test_scales", "rate", "starts_from"),
    [
        ("vgg16", (256, 256), 288, (256,), 1e-2, ""),
        ("vgg19,384", (384, 384), 416, (384,), 1e-3, "runs/vgg-vgg19"),
        ("jitter", (256, 512), 512, (384,), 1e-3, "runs/vgg-vgg16-384"),
    ],
)
def test_vgg_is_trained_as_section_3_says(variant, scales, stored, test_scales, rate, starts_from):
    config = parsed("vgg", variant)
    assert config.classifier.pretrained == starts_from
    # Random weights see pixels without their mean and nothing else; others bring their own preprocessing.
    random = ("imagenet_mean", "glorot") if not starts_from else ("", "")
    assert (config.classifier.preprocessing, config.classifier.initialisation) == random
    assert config.classifier.backbone == (variant.split(",")[0] if variant.startswith("vgg") else "vgg16")
    assert (config.images.scales, config.images.stored_side) == (scales, stored)
    assert config.classifier.test_scales == test_scales
    assert (config.batch.size, config.classifier.dropout, config.images.crop) == (256, 0.5, 224)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.momentum, optimizer.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (optimizer.schedule, optimizer.learning_rate, optimizer.plateau_factor) == ("plateau", rate, 0.1)


@pytest.mark.parametrize("variant", importlib.import_module("configs.vgg").VARIANTS)
def test_vgg_is_tested_as_the_published_figures_are(variant):
    classifier = parsed("vgg", variant).classifier
    assert classifier.test_protocol == "dense"
    assert len(classifier.test_scales) == 1


def test_a_vgg_of_a_larger_scale_starts_from_the_workdir_of_the_one_before():
    for network in importlib.import_module("configs.vgg").NETWORKS:
        before = f"runs/{parsed('vgg', network).name}"
        for scale in ("384", "jitter"):
            config = parsed("vgg", f"{network},{scale}")
            assert config.classifier.pretrained == before
            before = f"runs/{config.name}"
    assert parsed("vgg", "256") == parsed("vgg", "vgg16") == parsed("vgg")


@pytest.mark.parametrize("name", ["vgg", "mobilenet", "grocery", "geolocation", "image_distillation"])
def test_no_image_is_blown_up(name):
    for variant in ("", *getattr(importlib.import_module(f"configs.{name}"), "VARIANTS", ())):
        config = parsed(name, variant)
        assert config.images.stored_side >= max(*config.images.scales, *config.classifier.test_scales)


@pytest.mark.parametrize(
    ("variant", "backbone", "side"),
    [("", "1.0", 224), ("0.25", "0.25", 224), ("192", "1.0", 192), ("shallow,128", "shallow", 128)],
)
def test_mobilenet_has_its_widths_resolutions_and_stairs(variant, backbone, side):
    config = parsed("mobilenet", variant)
    assert config.classifier.backbone == f"mobilenet_{backbone}"
    assert config.images.crop == side
    # Of the 256 to 224 pixels, in proportion, to a pixel.
    assert abs(config.classifier.test_scales[0] - side * 256 / 224) < 1
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.schedule, optimizer.decay_rate) == ("rmsprop", "staircase", 0.94)
    assert optimizer.weight_decay == 4e-5
    epochs = optimizer.decay_steps * config.batch.size / (1_281_167 * (1 - config.images.validation_fraction))
    assert epochs == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("name", ["grocery", "vgg", "mobilenet"])
def test_a_classifier_exists(name):
    for variant in ("", *importlib.import_module(f"configs.{name}").VARIANTS):
        assert parsed(name, variant).classifier.backbone in registry.BACKBONES


def test_the_cosine_of_the_groceries_ends_with_the_run():
    config = parsed("grocery")
    assert config.optimizer.decay_steps == config.epochs * (2375 // config.batch.size)
    assert parsed("grocery", "coarse").images.classes == "coarse"
