"""`vigor-jax report`: the page made again, from the workdir and the data."""


def test_the_page_is_made_again_from_the_workdir(run_command, write_run, tmp_path, capsys):
    run = write_run(tmp_path)
    assert run_command("report", run.workdir) == 0
    assert capsys.readouterr().out.strip() == str(run.workdir / "report.html")
    assert "fabricated &lt;run&gt;" in (run.workdir / "report.html").read_text()


def test_a_workdir_without_a_run(run_command, tmp_path, capsys):
    assert run_command("report", tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: there is no {tmp_path / 'summary.json'}")
    assert "Traceback" not in error
