import numpy as np
import pytest

from vigor_jax.report import distance_curve
from vigor_jax.report.distance_curve import Curve


def test_the_curves_of_both_kinds_and_their_table():
    near, far = np.array([3.0, 30.0, 250.0, 999.0]), np.array([5000.0, 12.0])
    thresholds = np.geomspace(1, 1000, 40)
    plot = distance_curve.of_curves(
        [Curve("near", near, 1), Curve("far", far, 1, baseline=True)],
        examples="boats",
        threshold_m=thresholds,
        table_m=(10, 1000),
    )
    assert plot.title == "Boats placed within each distance"
    assert [(trace.name, trace.line.dash) for trace in plot.figure.data] == [("near", "solid"), ("far", "dot")]
    for trace, distances in zip(plot.figure.data, (near, far), strict=True):
        assert list(trace.x) == thresholds.tolist()
        assert list(trace.y) == pytest.approx([100 * sum(d < x for d in distances) / len(distances) for x in trace.x])
    assert plot.table.columns == ["within", "near", "far"]
    assert [[cell.replace("\xa0", " ") for cell in row] for row in plot.table.rows] == [
        ["10 m", "25.0 %", "0.0 %"],
        ["1.0 km", "100.0 %", "50.0 %"],
    ]
    assert plot.figure.layout.xaxis.range == (0, 3)
    assert plot.figure.layout.xaxis.ticktext == ("1\xa0m", "10\xa0m", "100\xa0m", "1\xa0km")
    assert plot.note == ""  # what a baseline lacks is no news


def test_what_lies_beyond_the_edge_is_said():
    plot = distance_curve.of_curves(
        [Curve("far", np.array([12.0, 5000.0]), 1)],
        examples="boats",
        threshold_m=np.geomspace(1, 1000, 40),
        table_m=(10,),
    )
    assert plot.note.replace("\xa0", " ").endswith("lies further off than 1.0 km.")
