from vigor_jax.report import metrics_table


def plain(table):
    return [[cell.replace("\xa0", " ") for cell in row] for row in table.rows]


def test_each_result_has_its_baselines_beside_it():
    tables = metrics_table.of_split(
        "same_area",
        {
            "top1": 0.25,
            "hit_rate": 0.375,
            "median_m": 7.5,
            "within_10m": 0.625,
            "queries": 24.0,
            "gallery": 3000.0,
            "chance_top1": 1 / 3000,
            "mean_colour_top1": 0.1,
            "colour_histogram_top1": 0.15,
            "centre_median_m": 21.0,
            "centre_within_10m": 0.125,
        },
    )
    assert tables.name == "Same area"
    assert tables.sizes == ["24 queries", "3,000 in the gallery"]
    retrieval, position = tables.tables
    assert retrieval.columns == ["", "this run", "chance", "colour"]
    assert plain(retrieval) == [
        ["Top-1", "25.0 %", "0.03 %", "15.0 %"],
        ["Hit rate (published code)", "37.5 %", "", ""],
    ]
    assert position.columns == ["", "this run", "tile centre"]
    assert plain(position) == [["Median error", "7.5 m", "21 m"], ["Within 10 m", "62.5 %", "12.5 %"]]


def test_without_an_offset_head_the_tile_centre_is_the_result():
    (table,) = metrics_table.of_split("cross_area", {"centre_median_m": 21.0, "centre_within_10m": 0.125}).tables
    assert table.columns == ["", "this run"]
    assert plain(table) == [["Median error, tile centre", "21 m"], ["Within 10 m, tile centre", "12.5 %"]]


def test_a_distance_is_compared_with_the_shortest():
    metrics = {"median_m": 5.0, "mean_colour_median_m": 40.0, "colour_histogram_median_m": 30.0}
    assert metrics_table.baselines("median_m", metrics) == {"colour": 30.0}
