"""Starts the real command, listens to it, and ends whatever is still running."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.outcome import Lost

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("tiny_city.py")
DEVICES = 2  # of a run, unless a case is about their number
_PATIENCE_S = 600.0  # with anything a run does here
_POLL_S = 0.001


class TooLate(Exception):
    """A run ended before what was waited for."""


class Run:
    """A started process and what it says."""

    def __init__(self, process: subprocess.Popen, workdir: Path):
        self.process = process
        self.workdir = workdir
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self._lines.append(line)

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return "".join(self._lines)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Returns as soon as the condition holds.

        Raises:
          TooLate: the run ended before.
          Lost: it neither ends nor comes there.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while not condition():
            if self.process.poll() is not None:
                raise TooLate(f"the run ended before {what}")
            if time.monotonic() > deadline:
                raise Lost(f"waited {_PATIENCE_S:.0f} s for {what}; the log ends:\n{self.tail()}")
            time.sleep(_POLL_S)

    def end(self, seconds: float = _PATIENCE_S) -> int:
        """Waits for its end and returns the exit code; a negative one is a signal.

        Raises:
          Lost: it does not end in time.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise Lost(f"did not end within {seconds:.0f} s; the log ends:\n{self.tail()}") from error
        self._reader.join(10)
        return code

    def require_end(self, code: int, *parts: str, seconds: float = _PATIENCE_S) -> str:
        """Waits for its end; returns the log.

        Raises:
          Lost: another exit code, a part missing from the log, or a traceback in it.
        """
        found = self.end(seconds)
        if found != code:
            raise Lost(f"exit code {found} instead of {code}; the log ends:\n{self.tail()}")
        for part in parts:
            if part not in self.log:
                raise Lost(f"the log lacks {part!r}; it ends:\n{self.tail()}")
        if "Traceback" in self.log:
            raise Lost(f"a traceback in the log, which ends:\n{self.tail()}")
        return self.log

    def tail(self) -> str:
        """The end of the log."""
        return "".join(self._lines[-12:])


class Trainer:
    """Starts processes, all of which `end_all` ends."""

    def __init__(self, folder: Path, flags: Sequence[str] = ()):
        """Has data and compiled programs kept in a folder from one start to the next; `flags` go to every run."""
        self._flags = tuple(flags)
        self.data_dir = folder / "data"
        self._cache = folder / "cache"
        self._folder = folder
        self._started: list[subprocess.Popen] = []
        self._lock = threading.Lock()
        self._closed = False

    def train(self, workdir: Path, *flags: str, devices: int = DEVICES, cache: Path | None = None) -> Run:
        """Starts or resumes the tiny run; `cache` is another one for compiled programs."""
        command = [sys.executable, str(ROOT / "main.py"), f"--config={CONFIG}", f"--workdir={workdir}"]
        command += [f"--config.data.data_dir={self.data_dir}", *self._flags, *flags]
        return self.start(command, workdir, devices, cache)

    def start(self, command: Sequence[str], workdir: Path, devices: int = DEVICES, cache: Path | None = None) -> Run:
        """Starts any command."""
        environment = os.environ | {
            # Compiled code runs for a second in each process; optimising it would take longer.
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
            "JAX_PLATFORMS": "cpu",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XDG_CACHE_HOME": str(cache or self._cache),
            "PYTHONPATH": str(ROOT),
        }
        with self._lock:
            if self._closed:
                raise Lost("the campaign was interrupted")
            process = subprocess.Popen(
                command,
                env=environment,
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the campaign
            )
            self._started.append(process)
        return Run(process, workdir)

    def end_all(self) -> None:
        """Ends what runs; nothing starts any more."""
        with self._lock:
            self._closed = True
            for process in self._started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            for process in self._started:
                process.wait()


def rows(workdir: Path) -> list[dict[str, Any]]:
    """The history of a run, as far as it is written."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]
