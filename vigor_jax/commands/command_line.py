"""`vigor-jax COMMAND`: finds the command, and makes one sentence and an exit code of whatever stops it."""

import dataclasses
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from vigor_jax import console
from vigor_jax.commands.arguments import UsageError
from vigor_jax.errors import PREEMPTED, Preempted, UserError
from vigor_jax.parallel import distributed

_MENDABLE, _INTERRUPTED, _NOBODY_READS = 2, 130, 141  # the last two as a shell would say of SIGINT and SIGPIPE


@dataclasses.dataclass(frozen=True)
class Command:
    """A line of `vigor-jax --help`; the file of the command's name has `main(program, arguments) -> exit code`."""

    summary: str
    resumes: bool = False  # given again, it goes on where it was stopped


COMMANDS = {
    "train": Command("train and evaluate what a config says, or go on where that stopped", resumes=True),
    "evaluate": Command("evaluate a finished run again: on other splits, data or checkpoints"),
    "check": Command("look at raw data: what is there, and every file that is not sound"),
    "prepare": Command("resize and store the images that a config needs, without training"),
    "render": Command("render images at the places of VIGOR's labels, in VIGOR's layout"),
    "cost": Command("count the parameters, multiply-adds and memory of a backbone"),
    "weights": Command("say whether a weight file fits a backbone, array by array"),
    "fuse": Command("average the class probabilities of several finished classifiers"),
    "descriptor-study": Command("train descriptors of several sizes, and compress the largest", resumes=True),
    "report": Command("make the page of a finished run again"),
}


def main(arguments: Sequence[str] | None = None, *, program: str = "vigor-jax") -> int:
    """Runs the command that the first argument names; returns the exit code.

    Args:
      arguments: those of this process unless given.
      program: how it was called.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in COMMANDS:
        return run(name, rest, program=f"{program} {name}")
    return _exit_code(lambda: _without_command(name, program))


def run(name: str, arguments: Sequence[str], *, program: str) -> int:
    """Runs one command.

    Args:
      name: of `COMMANDS`.
      arguments: after the name.
      program: how the command was called, for its help.

    Returns:
      0; 1 where the command says so, or if another host is gone; 2 after an error that the user can mend; 75 when
      preempted, 130 after Ctrl-C, 141 when nobody reads what is printed.
    """

    def command() -> int:
        module = importlib.import_module(f"vigor_jax.commands.{name.replace('-', '_')}")
        return module.main(program, arguments)

    return _exit_code(command, resumes=COMMANDS[name].resumes)


def _exit_code(command: Callable[[], int], *, resumes: bool = False) -> int:
    console.set_up()
    code = 1
    try:
        try:
            code = command()
        except SystemExit as asked:  # for help, which was printed
            code = int(asked.code or 0)
        sys.stdout.flush()  # here, where it is known what to do if nobody reads it
    except UserError as error:
        console.say(f"error: {error}")
        code = _MENDABLE
    except Preempted as stop:
        console.say(f"{stop}")
        code = PREEMPTED
    except KeyboardInterrupt:
        console.say("Stopped. The same command goes on from the last checkpoint." if resumes else "Stopped.")
        code = _INTERRUPTED
    except BrokenPipeError:
        # As after `| head`. What is still to be written would fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _NOBODY_READS
    except Exception as error:
        lost = distributed.lost_another(error)
        if lost is None:
            raise
        console.say(f"error: {lost}")
    finally:
        distributed.leave(code)
    return code


def _without_command(name: str, program: str) -> int:
    if name in ("-h", "--help", "help"):
        print(_usage(program))
        return 0
    found = f"{name!r} is not a command." if name else "Which command?"
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    raise UsageError(f"{found}{f' Did you mean {close[0]}?' if close else ''}\n\n{_usage(program)}")


def _usage(program: str) -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND ...",
            "",
            *lines,
            "",
            f"`{program} COMMAND --help` says what a command takes, with an example. Begin with",
            f"`{program} train --config=configs/demo.py`: no data needed, minutes on a CPU.",
        ]
    )
