import json

from vigor_jax.report import curves
from vigor_jax.workdir import results as runs


def test_a_metric_by_epoch_with_the_same_figures_beside(write_run, tmp_path):
    run = runs.read(write_run(tmp_path).workdir)
    plot = curves.of_metric(run, "top1")
    assert [trace.name for trace in plot.figure.data] == ["Cross area", "Validation"]
    assert [key.label for key in plot.legend] == ["Cross area", "Validation"]
    assert len({(key.ink, key.dashes) for key in plot.legend}) == 2
    assert list(plot.figure.data[0].x) == [1, 2, 3]
    assert plot.figure.data[0].y[-1] == 25
    assert plot.table.columns == ["epoch", "Cross area", "Validation"]
    assert plot.table.rows[-1] == ["3", "25.0\xa0%", "25.0\xa0%"]
    assert curves.of_metric(run, "top10") is None
    assert curves.logged_once(run) is None


def test_what_was_measured_once_is_no_curve(write_run, tmp_path):
    workdir = write_run(tmp_path).workdir
    rows = [
        {"step": 4, "train/loss": 0.75, "train/data_wait_share": 0.25},
        {"step": 8, "epoch": 2, "validation/top1": 0.5, "validation/top5": 0.75, "cross_area/top1": 0.25},
        {"step": 12, "epoch": 3, "validation/top1": 0.75},
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = runs.read(workdir)
    assert curves.of_loss(run) is None
    assert curves.of_the_rest(run) == []
    assert curves.logged_once(run).rows == [
        ["Training loss: loss", "1.00", "0.75"],
        ["Time spent waiting for data: first host", "1.00", "25\xa0%"],
    ]
    assert curves.of_metric(run, "top5") is None
    top1 = curves.of_metric(run, "top1")
    assert [trace.name for trace in top1.figure.data] == ["Validation"]
    assert top1.table.columns == ["epoch", "Validation"]


def test_the_loss_stands_with_its_parts_and_the_rest_alone(write_run, tmp_path):
    workdir = write_run(tmp_path).workdir
    rows = [
        {"step": 4 * k, "train/loss": 1.0 * k, "train/iou_loss": 0.5 * k, "train/learning_rate": 1e-5 * k}
        for k in range(1, 4)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = runs.read(workdir)
    loss = curves.of_loss(run)
    assert [trace.name for trace in loss.figure.data] == ["Loss", "IOU loss"]
    assert list(loss.figure.data[1].x) == [1, 2, 3]
    assert list(loss.figure.data[1].y) == [0.5, 1.0, 1.5]
    (rate,) = curves.of_the_rest(run)
    assert rate.title == "Learning rate"
    assert rate.legend == []


def test_what_was_measured_in_the_same_way_shares_a_plot_in_its_unit(write_run, tmp_path):
    workdir = write_run(tmp_path).workdir
    rows = [
        {
            "step": 4 * k,
            "train/loss": 1.0,
            "train/grad_norm": 7.0,
            "train/examples_per_s": 100.0,
            "train/step_ms": 20.0 * k,
            "train/step_ms_p50": 10.0 * k,
            "train/step_ms_p95": 15.0 * k,
            "train/step_ms_max": 300.0,
            "train/data_wait_share": 0.25 * k,
            "train/host_memory_gib": 0.5 * k,
            "train/host_memory_peak_gib": 2.0,
        }
        for k in range(1, 4)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    norm, speed, step, longest, wait, memory = curves.of_the_rest(runs.read(workdir))
    assert [plot.name for plot in (norm, speed, step)] == [
        "training-grad_norm",
        "training-examples_per_s",
        "training-step_ms",
    ]
    assert [key.label for key in step.legend] == ["Mean", "Median", "95th percentile"]
    assert list(step.figure.data[1].y) == [10, 20, 30]
    assert step.figure.layout.yaxis.ticksuffix == " ms"
    assert step.table.rows[-1] == ["3.00", "60\xa0ms", "30\xa0ms", "45\xa0ms"]
    assert longest.legend == wait.legend == []
    assert list(wait.figure.data[0].y) == [25, 50, 75]
    assert wait.description.replace("\xa0", " ").endswith("from first to last: First host 25 % to 75 %.")
    assert memory.title == "Memory of the host"
    assert [key.label for key in memory.legend] == ["Now", "Most so far"]
    assert norm.figure.layout.yaxis.rangemode is None


def test_a_long_table_keeps_its_last_row(write_run, tmp_path):
    workdir = write_run(tmp_path).workdir
    rows = [{"step": k, "train/loss": 1.0 * k} for k in range(1, 102)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot = curves.of_loss(runs.read(workdir))
    assert len(plot.figure.data[0].x) == 101
    assert len(plot.table.rows) == 21
    assert plot.table.rows[-1][1] == "101"
