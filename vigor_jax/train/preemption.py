"""Ends a run after the step under way when its scheduler or its user asks for that by a signal."""

import collections
import contextlib
import os
import shlex
import signal
import socket
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from vigor_jax.errors import Preempted
from vigor_jax.input.pipeline_depth import STEPS_IN_FLIGHT
from vigor_jax.parallel.mesh import AXIS, replicated

# A terminal or a launcher may deliver one Ctrl-C twice: to the whole process group, and forwarded by a parent.
_SAME_SIGNAL_SECONDS = 0.5
_CAUGHT = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Catches SIGTERM and the first SIGINT; a context manager.

    At first, while data is prepared, SIGTERM raises `Preempted` where the main thread is, as Ctrl-C raises
    KeyboardInterrupt. From `defer` on both are kept for `should_stop`. Then a thread reads them off a socket that
    Python's own signal handler writes to, so that they are answered at once while the main thread is in a compilation
    or a collective; a second signal ends the process there and then. Checkpoints appear under their names only when
    they are complete, so that does them no harm.

    Signals that were ignored when the process was started (nohup, a shell's background job) stay so. Entered in
    another than the main thread, where Python takes no handlers, it catches nothing.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._ending = False
        self._agreement: _Agreement | None = None
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> "StopSignals":
        self._previous = {}
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:
            for each in _CAUGHT:
                if signal.getsignal(each) is not signal.SIG_IGN:
                    self._previous[each] = signal.getsignal(each)
            if signal.SIGTERM in self._previous:
                signal.signal(signal.SIGTERM, _preempt_now)
        return self

    def defer(self, mesh: Mesh) -> None:
        """Keeps signals for `should_stop` from here on; the hosts of `mesh` stop together."""
        if jax.process_count() > 1:
            self._agreement = _Agreement(mesh)
        if not self._is_main:
            return
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, name="stop-signals", daemon=True)
        self._watcher.start()
        for each in self._previous:
            signal.signal(each, _left_to_the_watcher)

    def should_stop(self) -> bool:
        """Whether to end after what is under way; once True, always.

        On several hosts to be called equally often on each, in the same order among what is computed on the devices:
        all say True in the same call, some calls after one of them was sent a signal, and none waits for another.
        """
        if self._agreement is None:
            return self._received is not None
        return self._agreement.poll(self._received is not None)

    @property
    def reason(self) -> str:
        """What asked for the stop, for people."""
        return "a signal to another host" if self._received is None else self._received.name

    def ending(self) -> None:
        """Says that the run is about to end by itself, which a signal need not hasten."""
        self._ending = True

    def _watch(self) -> None:
        first = 0.0
        while code := self._reader.recv(1)[0]:
            if code not in self._previous:
                continue  # of a handler that is not ours
            now = time.monotonic()
            if self._received is None:
                first = now
                self._received = signal.Signals(code)
                what = (
                    "the report is finished, which ends the run"
                    if self._ending
                    else "the step under way is finished and saved"
                )
                _say(f"{self._received.name}: {what}; a second signal ends at once.")
            elif code != self._received or now - first > _SAME_SIGNAL_SECONDS:
                _say(f"{signal.Signals(code).name} again: ended at once. The last checkpoint is whole.")
                os._exit(128 + code)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for each, handler in self._previous.items():
            # None: it was set by other than Python, such as JAX's own listener, which has no way back.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        if self._watcher is not None:
            signal.set_wakeup_fd(self._previous_fd)
            self._writer.setblocking(True)
            self._writer.send(b"\0")
            self._watcher.join()
            self._reader.close()
            self._writer.close()


class _Agreement:
    """A flag of each host, reduced over all of them on the devices without any host waiting for another."""

    def __init__(self, mesh: Mesh):
        sharding = NamedSharding(mesh, PartitionSpec(AXIS))
        local = len(mesh.local_devices)
        self._flags = [jax.make_array_from_process_local_data(sharding, np.full(local, flag)) for flag in (False, True)]
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))
        self._polls: collections.deque[jax.Array] = collections.deque()
        self._agreed = False

    def poll(self, own: bool) -> bool:
        if not self._agreed:
            self._polls.append(self._any(self._flags[own]))
            # By then the devices have finished the poll, so that nobody waits.
            if len(self._polls) > STEPS_IN_FLIGHT:
                self._agreed = bool(self._polls.popleft())
        return self._agreed


def resume_command() -> str:
    """What this process was started by, for a shell: the same command goes on where it stopped."""
    return shlex.join(sys.orig_argv)


def _preempt_now(signum: int, frame: FrameType | None) -> NoReturn:
    raise Preempted(
        f"Stopped by {signal.Signals(signum).name} before training began, so there was nothing to save. To go on:\n"
        f"  {resume_command()}"
    )


def _left_to_the_watcher(signum: int, frame: FrameType | None) -> None:
    """There must be a handler, or Python would not write to the socket."""


def _say(sentence: str) -> None:
    # Not logged: the main thread may hold the log's lock while the process is ended here.
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
        tqdm.write(sentence, file=sys.stderr)
        sys.stderr.flush()
