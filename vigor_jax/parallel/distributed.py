"""Joins the processes of a run by `jax.distributed`, and leaves them again.

Process i is host i to everything else here, also where several processes share a machine.
"""

import os
import socket
import sys
import traceback
from collections import Counter

from absl import logging

from vigor_jax import console
from vigor_jax.parallel import cluster
from vigor_jax.parallel.background import in_background
from vigor_jax.parallel.cluster import DistributedError, Joining, Processes

# To come together: as long as JAX itself would wait.
JOIN_SECONDS = 300
# JAX ends the process, without a word for people, where the others do not come. We give up earlier.
_LATER = 60
# For the others to end too. After a run they wait for host 0 to write the report; an error that all share reaches all
# at once; and who fails alone must not wait for those that wait for it.
_END_SECONDS = 3600
_FAIL_SECONDS = 15

# In what JAX raises where a host that took part does so no more.
_GONE = ("Gloo ", "NCCL ", "coordination service")

_joining = _joined = False


def join(processes: Processes, *, timeout_s: int = JOIN_SECONDS) -> None:
    """Makes this process one of several, if it is; to be called before JAX is used for anything.

    Afterwards hosts other than 0 log warnings and errors only.

    Args:
      processes: the flags.
      timeout_s: how long to wait for the others.

    Raises:
      DistributedError: flags that cannot work, no coordinator found or reached, processes that did not come, or
        hosts with different numbers of devices.
    """
    global _joining, _joined
    joining = cluster.joining(processes, os.environ)
    if joining is None:
        return
    address = joining.arguments.get("coordinator_address")
    if address and joining.arguments["process_id"] == 0:
        _require_free(address)
        logging.info("Waiting at %s for %d processes in all.", address, joining.arguments["num_processes"])
    import jax  # here, as an error in the flags shall not wait for it to load

    _joining = True
    started = in_background(
        jax.distributed.initialize,
        **joining.arguments,
        initialization_timeout=timeout_s + _LATER,
        shutdown_timeout_seconds=_END_SECONDS,
    )
    try:
        started.result(timeout_s)
    except TimeoutError as error:
        raise DistributedError(_nobody_came(joining, timeout_s)) from error
    except Exception as error:
        if joining.tentative and isinstance(error, ValueError):  # as JAX says that it found nothing
            _joining = False
            return
        raise DistributedError(
            f"JAX cannot join the processes by {joining.found}: {error}\nGive --coordinator_address=HOST:PORT "
            "--num_processes=N --process_id=I, or --distributed=off to train in this process alone."
        ) from error
    _joined = True
    if jax.process_count() > 1:
        console.set_up(host=jax.process_index())
        _require_equal_shares()
        _connect()
        logging.info("%d hosts with %d devices, by %s.", jax.process_count(), jax.device_count(), joining.found)


def lost_another(error: BaseException) -> str | None:
    """What to tell the user if an error came about because another host is gone; else None.

    Only some backends raise one. On others JAX ends the process with a message of its own.
    """
    seen: BaseException | None = error
    while _joined and seen is not None:
        if any(part in str(seen) for part in _GONE):
            return (
                f"Another host is gone, or out of reach: {str(seen).splitlines()[0]}\nSee what it says. The same "
                "command on all hosts goes on from the last checkpoint."
            )
        seen = seen.__cause__ or seen.__context__
    return None


def leave(code: int) -> None:
    """Leaves the other processes; the last thing a process does.

    Returns after success, or if the process was alone. Otherwise the process ends here: at once if the others fail with
    it, else after some seconds, whereupon JAX ends them.

    Args:
      code: that the process is to exit with.
    """
    global _joining, _joined
    if not _joining:
        return
    if _joined:
        import jax

        try:
            in_background(jax.distributed.shutdown).result(_FAIL_SECONDS if code else _END_SECONDS)
        except TimeoutError:
            if not code:
                raise
    _joining = _joined = False
    if not code:
        return
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: steps that were under way, and wait for the others' part, could hold it up.
    os._exit(code)


def _require_free(address: str) -> None:
    """JAX crashes where the port is taken, or shares it with another run."""
    port = address.rpartition(":")[2]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except OSError as error:
            raise DistributedError(
                f"--coordinator_address={address}: port {port} of this machine, on which process 0 was to wait for the "
                f"others, is not free ({error.strerror}). Give another to all processes."
            ) from error


def _nobody_came(joining: Joining, timeout_s: int) -> str:
    address = joining.arguments.get("coordinator_address")
    if address is None:
        return (
            f"The processes named by {joining.found} did not all come within {timeout_s} s. See what the others write, "
            "or give --distributed=off to train in this process alone."
        )
    count, index = joining.arguments["num_processes"], joining.arguments["process_id"]
    host, _, port = address.rpartition(":")
    this = f"Process {index} of {count}"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return (
            f"{this} found nobody at {address} within {timeout_s} s ({error}). Is process 0 running on that machine, "
            "and may this one reach the port?"
        )
    return (
        f"{this} waited at {address} for {timeout_s} s, but not all {count} came. Was each started, with its own "
        f"--process_id of 0..{count - 1} and the same --num_processes?"
    )


def _require_equal_shares() -> None:
    import jax

    devices = Counter(device.process_index for device in jax.devices())
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"host {host}: {count}" for host, count in sorted(devices.items()))
        raise DistributedError(
            f"The hosts have different numbers of devices ({listed}), but each reads an equal share of every batch. "
            "Start them with equally many (CUDA_VISIBLE_DEVICES)."
        )


def _connect() -> None:
    """Has all devices add something up while all hosts are here.

    On CPUs the first collective opens the connections, and waits no more than 30 s for any host. Later it could be the
    first step, to which hosts that compile or read at different speed come minutes apart.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    mesh = Mesh(np.asarray(devices), ("all",))
    ones = jax.make_array_from_process_local_data(
        NamedSharding(mesh, PartitionSpec("all")), np.ones(jax.local_device_count(), np.int32)
    )
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(mesh, PartitionSpec()))(ones)
    if int(total) != len(devices):
        raise DistributedError(f"{len(devices)} devices counted each other and found {int(total)}.")
