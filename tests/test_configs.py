"""Every shipped recipe and variant is valid, and says how to run it."""

import importlib
from pathlib import Path

import pytest

from vigor_jax import config as config_schema

_CONFIGS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("*.py"))


def _recipes() -> list[tuple[str, str]]:
    recipes = []
    for name in _CONFIGS:
        variants = getattr(importlib.import_module(f"configs.{name}"), "VARIANTS", ())
        recipes += [(name, ""), *((name, variant) for variant in variants)]
    recipes += [("same_area", "siamese_vgg,rendered"), ("cross_area", "siamese_vgg"), ("cross_area", "rendered")]
    return recipes


@pytest.mark.parametrize(("name", "variant"), _recipes())
def test_a_recipe_passes_the_schema(name, variant):
    module = importlib.import_module(f"configs.{name}")
    parsed = config_schema.parse(module.get_config(variant))
    assert parsed.name.startswith(name)
    assert ("siamese_vgg" in variant) == (parsed.model.aggregation == "fully_connected")
    assert (parsed.data.name == "rendered_city") == ("rendered" in variant or name == "demo")


@pytest.mark.parametrize("name", _CONFIGS)
def test_a_recipe_tells_its_command(name):
    assert f"python main.py --config=configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__


def test_runs_of_different_variants_have_different_workdirs():
    same_area = importlib.import_module("configs.same_area")
    names = {same_area.get_config(variant).name for variant in ("", "siamese_vgg", "rendered", "siamese_vgg,rendered")}
    assert len(names) == 4


@pytest.mark.parametrize("variant", ["safa_", "safa,siamese_vgg"])
def test_an_unknown_or_contradicting_variant_is_refused(variant):
    with pytest.raises(ValueError, match=r"variant|two models"):
        importlib.import_module("configs.cross_area").get_config(variant)


def test_cross_area_is_the_published_protocol():
    config = config_schema.parse(importlib.import_module("configs.cross_area").get_config())
    assert config.data.train_cities == ("NewYork", "Seattle")
    assert set(config.data.test_cities) == {"Chicago", "SanFrancisco"}
    assert config.optimizer.learning_rate == 1e-5
    assert config.loss.alpha == 10
    assert config.epochs == 11
