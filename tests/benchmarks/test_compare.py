"""What a comparison prints of its runs."""

import re

import pytest

CONFIG = {
    "model": {"backbone": "vgg11", "width": 0.125, "stride": 0},
    "data": {"aerial_size": [32, 32], "ground_size": [32, 64]},
}
CLASSIFIER = {"classifier": {"backbone": "mobilenet_0.25"}, "images": {"crop": 32}}


def summary(step_ms, config=CONFIG, **metrics):
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return {"config": config, "throughput": {"step_ms_p50": step_ms}, "metrics": named}


@pytest.fixture
def compare(benchmark_module):
    return benchmark_module("compare")


def cells(table):
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in table if line.startswith("|")]


def test_a_cell_is_the_mean_over_the_seeds_and_their_deviation(compare):
    found = {
        "safa": [summary(10, same_area__top1=0.1, validation__top1=0.9), summary(30, same_area__top1=0.2)],
        "hybrid": [summary(20, same_area__top1=0.3, same_area__found_median_m=6.25)],
    }
    costs, same_area = compare.tables(found)
    assert [row[0] for row in cells(costs)[2:]] == ["safa", "hybrid"]
    assert [row[3] for row in cells(costs)[2:]] == ["0.020", "0.020"]
    # Towers of the demo's width: 8, 16, 32 x 2, 64 x 4 channels, for a tile and for a panorama.
    parameters = 2 * sum(9 * a * b + b for a, b in [(3, 8), (8, 16), (16, 32), (32, 32), (32, 64), *3 * [(64, 64)]])
    assert cells(costs)[2][1] == f"{parameters:,}"
    assert same_area[0] == "same_area (seeds: 2)"
    assert cells(same_area)[0] == ["row", "top-1", "found: median m"]
    assert cells(same_area)[2:] == [["safa", "15.0 +- 7.1", "-"], ["hybrid", "30.0", "6.2"]]


def test_chance_and_colour_stand_below_and_sizes_above(compare):
    shares = {"test__top1": 0.5, "test__chance_top1": 0.0123, "test__chance_top5": 0.0617, "test__images": 296.0}
    _, table = compare.tables({"narrow": [summary(10, CLASSIFIER, **shares)]})
    assert table[0] == "test (seeds: 1, images: 296)"
    assert table[-1] == "Top-1 / top-5 by chance 1.2 / 6.2."


def test_every_row_of_a_ready_comparison_is_a_config_and_has_a_folder_of_its_own(compare):
    from vigor_jax.tasks import check_key

    for rows in compare.READY.values():
        folders = {compare._folder(row) for row in rows}
        assert len(folders) == len(rows)
        for recipe in rows.values():
            config, *settings = recipe.split()
            assert (compare._ROOT / config.split(":")[0]).exists()
            for setting in settings:
                check_key(setting.removeprefix("--config.").split("=")[0])
    assert compare._folder("configs/grocery.py:coarse --config.seed=1") == "grocery-coarse-seed=1"
