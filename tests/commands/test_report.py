import pytest

from vigor_jax import console
from vigor_jax.commands import report as command


@pytest.fixture(autouse=True)
def leave_logging_alone(monkeypatch):
    monkeypatch.setattr(console, "set_up", lambda: None)


def test_the_page_is_made_again_from_the_workdir(write_run, tmp_path, capsys):
    run = write_run(tmp_path)
    assert command.main([str(run.workdir)]) == 0
    assert capsys.readouterr().out.strip() == str(run.workdir / "report.html")
    assert "fabricated &lt;run&gt;" in (run.workdir / "report.html").read_text()


def test_a_workdir_without_a_run(tmp_path, capsys):
    assert command.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: there is no {tmp_path / 'summary.json'}")
    assert "Traceback" not in error
