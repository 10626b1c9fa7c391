"""Several hosts that act as one: they go on together, or stop together, each knowing why.

Each function is to be called by all hosts in the same order. With a single host they do the obvious.
"""

import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vigor_jax.errors import UserError
from vigor_jax.parallel.background import in_background

# Preparing a data set takes hours, which no collective waits for.
_PATIENCE_HOURS = 48
# A network file system may show a new file to other machines that much later.
_FILE_SYSTEM_SECONDS = 60
_SHOWN = 20  # differing values

_Result = TypeVar("_Result")
_meetings = itertools.count()


class StoppedTogether(UserError):
    """This host stops because another one must; that one says more."""


class HostsDiffer(UserError):
    """The hosts were not started alike; names every difference."""


def is_first() -> bool:
    """Whether this is the host that writes files and the log."""
    return jax.process_index() == 0


def together(do: Callable[[], _Result]) -> _Result:
    """Does something on every host, for however many hours; when all have done it, they go on.

    Raises:
      StoppedTogether: it failed on another host and not, or not first, in the same way on this one.
    """
    if jax.process_count() == 1:
        return do()
    failure = None
    try:
        result = do()
    except Exception as error:
        failure = error
    messages = _gathered("" if failure is None else _named(failure))
    failed = [host for host, message in enumerate(messages) if message]
    if not failed:
        return result
    own = messages[jax.process_index()]
    if own and messages.index(own) == jax.process_index():
        raise failure
    raise StoppedTogether(f"Stopped with host {failed[0]}: {messages[failed[0]].splitlines()[0]}") from failure


def first_then_others(do: Callable[[], _Result]) -> _Result:
    """Does something on host 0, then on the others, which find what it left if they share its disk.

    Raises:
      StoppedTogether: as of `together`.
    """
    if jax.process_count() == 1:
        return do()
    on_first = together(do if is_first() else _nothing)
    on_others = together(_nothing if is_first() else do)
    return on_first if is_first() else on_others


def from_first(find: Callable[[], Any]) -> Any:
    """What host 0 finds, as JSON would give it back, on all hosts: its view of the disk is everybody's.

    Raises:
      StoppedTogether: host 0 failed.
    """
    if jax.process_count() == 1:
        return find()
    found = together(find if is_first() else _nothing)
    return json.loads(_gathered(json.dumps(found) if is_first() else "")[0])


def require_same(values: dict[str, Any]) -> None:
    """Compares values that must be the same on all hosts.

    Args:
      values: JSON-able, by names that mean something to the user; groups may be nested.

    Raises:
      HostsDiffer: with the differing ones, on host 0.
      StoppedTogether: on the others.
    """
    if jax.process_count() == 1:
        return
    by_host = [_flat(json.loads(text)) for text in _gathered(json.dumps(values))]
    names = dict.fromkeys(name for each in by_host for name in each)
    lines = []
    for name in names:
        seen: dict[str, list[int]] = {}
        for host, each in enumerate(by_host):
            seen.setdefault(repr(each[name]) if name in each else "missing", []).append(host)
        if len(seen) > 1:
            lines.append(f"  {name}: " + ", ".join(f"{value} on host {_listed(on)}" for value, on in seen.items()))
    if lines:
        if not is_first():
            raise StoppedTogether("Stopped with host 0, which lists what differs between the hosts.")
        if len(lines) > _SHOWN:
            lines = [*lines[:_SHOWN], f"  ... and {len(lines) - _SHOWN} more"]
        raise HostsDiffer("The hosts were not started alike:\n" + "\n".join(lines))


def require_shared(directory: Path) -> None:
    """Refuses a directory that is not the same one on all hosts.

    Raises:
      HostsDiffer: on every host that does not see what host 0 put there.
      StoppedTogether: on the others.
    """
    if jax.process_count() == 1:
        return
    sign = Path(from_first(lambda: _put_sign(directory)))
    try:
        together(lambda: _require_sign(sign))
    finally:
        if is_first():
            sign.unlink(missing_ok=True)


def _put_sign(directory: Path) -> str:
    handle, sign = tempfile.mkstemp(prefix=".seen-by-all-hosts-", dir=directory)
    os.close(handle)
    return sign


def _require_sign(sign: Path) -> None:
    deadline = time.monotonic() + _FILE_SYSTEM_SECONDS
    # Listing the directory has a network file system look again.
    while not (sign.parent.is_dir() and sign.name in os.listdir(sign.parent)):
        if time.monotonic() > deadline:
            raise HostsDiffer(
                f"Host {jax.process_index()} does not see in {sign.parent} what host 0 wrote there. The hosts must "
                "share the workdir: give a --workdir on a file system that all of them see."
            )
        time.sleep(0.5)


def _gathered(text: str) -> list[str]:
    """What each host says, once all have come."""
    _wait_for_all()
    data = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(max(1, sizes.max()), np.uint8)
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def _wait_for_all() -> None:
    from orbax.checkpoint import multihost  # loads slowly, and a single host needs none of it

    wait = multihost.get_barrier_sync_fn()
    key = f"vigor_jax/{next(_meetings)}"
    in_background(wait, key=key, timeout_ms=_PATIENCE_HOURS * 3_600_000).result()


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _listed(hosts: list[int]) -> str:
    return str(hosts[0]) if len(hosts) == 1 else f"{', '.join(map(str, hosts[:-1]))} and {hosts[-1]}"


def _nothing() -> Any:
    return None
