"""`vigor-jax`: which commands there are, how long a mistake waits for its answer, and what ends in which exit code."""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from vigor_jax.commands import command_line
from vigor_jax.commands.command_line import COMMANDS, Command
from vigor_jax.errors import Preempted, UserError

ROOT = Path(__file__).parents[2]
# What only a command that has good arguments may load.
_HEAVY = ("jax", "flax", "plotly", "orbax", "tensorflow_datasets", "scipy", "cv2")


@pytest.fixture
def ending(monkeypatch):
    """`(error) -> exit code` of a command that raises it."""

    def end(error, *, resumes=False):
        def stop(program, arguments):
            raise error

        monkeypatch.setitem(sys.modules, "vigor_jax.commands.stop", types.SimpleNamespace(main=stop))
        monkeypatch.setitem(COMMANDS, "stop", Command("stops", resumes=resumes))
        return command_line.main(["stop"])

    return end


@pytest.fixture(autouse=True)
def leave_logging_alone(run_command):
    """Not to be set up for a person."""


def test_every_command_is_a_file_and_every_file_a_command(capsys):
    files = {path.stem for path in (ROOT / "vigor_jax/commands").glob("*.py")}
    others = {"__init__", "arguments", "command_line", "config_file", "flags"}
    assert {name.replace("-", "_") for name in COMMANDS} == files - others
    assert command_line.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, command in COMMANDS.items():
        assert any(line.split() == [name, *command.summary.split()] for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_the_usage_and_an_example(name, capsys):
    assert command_line.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: vigor-jax {name} ")
    assert sum(line.strip().startswith(f"vigor-jax {name} ") for line in out.splitlines()) >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "'trian' is not a command. Did you mean train?"),
        (["descriptor_study"], "'descriptor_study' is not a command. Did you mean descriptor-study?"),
        ([], "Which command?"),
    ],
)
def test_another_command_is_refused_with_those_there_are(arguments, said, capsys):
    assert command_line.main(arguments) == 2
    out, error = capsys.readouterr()
    assert error.startswith(f"error: {said}\n\nusage: vigor-jax COMMAND")
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--roto=x"], "there is no option --roto. Did you mean --root?\n\nusage: vigor-jax check"),
        (["check", "--root=x", "--image=full"], "there is no option --image. Did you mean --images?"),
        (["check", "--root=x", "y"], "unrecognized arguments: y"),
        (["check"], "the following arguments are required: --root"),
        (["check", "--root=x", "--list=/nowhere/bad.txt"], "Name one in a folder that exists."),
        (["train", "--confg=x"], "there is no option --confg. Did you mean --config?\n\nusage: vigor-jax train"),
        (["train", "--config=configs/demo.py", "--profil"], "there is no option --profil. Did you mean --profile?"),
        (["prepare", "--config=configs/demo.py", "--workdir=x"], "there is no option --workdir."),
        (["prepare"], "--config is missing.\n\nusage: vigor-jax prepare"),
    ],
)
def test_mistakes_look_alike_in_all_commands(arguments, said, capsys):
    assert command_line.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error


def test_nothing_heavy_is_loaded_before_the_arguments_are_known_to_be_good():
    script = f"""
import contextlib, io, sys
from vigor_jax.commands import command_line

with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for name in command_line.COMMANDS:
        assert command_line.main([name, "--help"]) == 0
        assert command_line.main([name, "--config=configs/demo.py", "--misspelt"]) == 2
    assert command_line.main(["--help"]) == 0
print([name for name in {_HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no data. Get some."), 2, "error: no data. Get some.\n"),
        (Preempted("Stopped by SIGTERM."), 75, "Stopped by SIGTERM.\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
    ],
)
def test_an_end_is_one_sentence_and_a_code(ending, capsys, error, code, said):
    assert ending(error) == code
    assert capsys.readouterr().err == said


def test_an_interrupted_command_that_resumes_says_so(ending, capsys):
    assert ending(KeyboardInterrupt(), resumes=True) == 130
    assert capsys.readouterr().err == "Stopped. The same command goes on from the last checkpoint.\n"


def test_a_bug_is_shown_whole(ending):
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())


def test_nobody_reading_any_more_ends_a_command_quietly():
    """As `vigor-jax cost vgg11 | head -1` does, but that whoever reads is gone before anything is written."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "vigor_jax", "--help"], stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_help_speaks_of_the_program_that_was_called():
    for command, usage in (
        (["-m", "vigor_jax", "cost", "--help"], "usage: python -m vigor_jax cost"),
        (["main.py", "--help"], "usage: python main.py --config="),
    ):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(usage)
