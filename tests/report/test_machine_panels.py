from vigor_jax.report.machine_panels import panels


def test_every_figure_is_in_one_panel_in_the_order_of_the_log():
    logged = ["grad_norm", "step_ms", "data_wait_share", "step_ms_p95", "data_wait_share_max", "slowest_host"]
    found = panels(logged)
    assert [list(panel.labels) for panel in found] == [
        ["grad_norm"],
        ["step_ms", "step_ms_p95"],
        ["data_wait_share", "data_wait_share_max"],
        ["slowest_host"],
    ]
    assert [panel.title for panel in found][:2] == ["Grad norm", "Time of a step"]
    assert [panel.unit for panel in found] == ["", " ms", " %", ""]
    assert panels([]) == []
