"""What a person sees of the log: sentences, without the chatter of libraries."""

import logging
import sys
import warnings

from absl import logging as absl_logging
from tqdm import tqdm

# They log through absl as we do, every save and every file; their errors still come through.
_CHATTY = ("/orbax/", "/tensorflow_datasets/", "/array_record/", "/etils/")
# What it logs as an error, with a traceback each time it is handed on, it raises as well. Then come its coroutines that
# nobody waits for any more.
_RAISES = "/orbax/"
_ABANDONED = ("/asyncio/", "coroutine '.*' was never awaited", "Event loop is closed")

_host = 0


def set_up(host: int = 0) -> None:
    """Prints our log lines bare, warnings and errors by their level, on standard error; library chatter is dropped.

    Args:
      host: which of several this is; those other than 0 print no more than warnings, behind their number.
    """
    global _host
    _host = host
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_ConsoleHandler())
    root.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=_ABANDONED[1])
    sys.unraisablehook = _print_unraisable
    absl_logging.set_verbosity(absl_logging.WARNING if host else absl_logging.INFO)


def is_quiet() -> bool:
    """Whether another host shows the progress of what all do."""
    return _host > 0


def say(sentence: str) -> None:
    """Prints a sentence on standard error, behind the number of the host where that is not 0."""
    # Through tqdm, which takes a progress bar off the terminal's last line while it writes.
    tqdm.write(f"[host {_host}] {sentence}" if _host else sentence, file=sys.stderr)
    sys.stderr.flush()


class _ConsoleHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(_is_for_people)

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(f"{level}{self.format(record)}")


def _is_for_people(record: logging.LogRecord) -> bool:
    path = record.pathname.replace("\\", "/")
    chatty = record.levelno < logging.ERROR and any(part in path for part in _CHATTY)
    return not chatty and _RAISES not in path and _ABANDONED[0] not in path


def _print_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    if _ABANDONED[2] not in str(unraisable.exc_value) and _RAISES not in _code_file(unraisable.object):
        sys.__unraisablehook__(unraisable)


def _code_file(coroutine: object) -> str:
    return getattr(getattr(coroutine, "cr_code", None), "co_filename", "").replace("\\", "/")
