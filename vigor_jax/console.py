"""What a person sees of the log: sentences, without the chatter of libraries."""

import logging
import sys

from absl import logging as absl_logging
from tqdm import tqdm

# They log through absl as we do, every save and every file; their errors still come through.
_CHATTY = ("/orbax/", "/grain/", "/tensorflow_datasets/", "/array_record/", "/etils/")


def set_up() -> None:
    """Prints our log lines bare, warnings and errors by their level, on standard error; library chatter is dropped."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(_ConsoleHandler())
    root.setLevel(logging.WARNING)
    absl_logging.set_verbosity(absl_logging.INFO)


class _ConsoleHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.addFilter(_is_for_people)

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # Through tqdm, which takes a progress bar off the terminal's last line while it writes.
        tqdm.write(f"{level}{self.format(record)}", file=sys.stderr)


def _is_for_people(record: logging.LogRecord) -> bool:
    path = record.pathname.replace("\\", "/")
    return record.levelno >= logging.ERROR or not any(part in path for part in _CHATTY)
