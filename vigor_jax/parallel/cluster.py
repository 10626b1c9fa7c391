"""Whether this process is one of several that train together, and how they find each other.

What JAX detects by itself is left to it (`jax.distributed.initialize`). Decided here is only what it does not say: that
there is nothing to detect, or a single process, which needs no coordinator and shall see all devices of its machine.
"""

import dataclasses
import importlib.util
import re
from collections.abc import Mapping
from typing import Any, Literal

from vigor_jax.errors import UserError


class DistributedError(UserError):
    """The processes of a run cannot work together; says what was found and what to do."""


@dataclasses.dataclass(frozen=True)
class Processes:
    """What the flags say about the processes of a run.

    Attributes:
      mode: "auto" takes what the environment says, "on" refuses to train alone, "off" trains alone.
      coordinator_address: HOST:PORT of process 0, for machines without a scheduler.
      num_processes: in all.
      process_id: of this one, 0..num_processes-1.
    """

    mode: Literal["auto", "on", "off"] = "auto"
    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


@dataclasses.dataclass(frozen=True)
class Joining:
    """How to call `jax.distributed.initialize`.

    Attributes:
      found: what was found, for people: "Slurm", "the flags", ...
      arguments: of `jax.distributed.initialize`.
      tentative: only JAX can tell whether there is a cluster at all; if it finds none, this process is alone.
    """

    found: str
    arguments: dict[str, Any]
    tentative: bool = False


def joining(processes: Processes, environment: Mapping[str, str]) -> Joining | None:
    """How this process joins the others; None if it is alone.

    Args:
      processes: the flags.
      environment: `os.environ`.

    Raises:
      DistributedError: flags that cannot work, or a launcher of several processes that JAX cannot be told about.
    """
    given = _from_flags(processes)
    if processes.mode == "off":
        return None
    if given is not None:
        return given
    detected = _mpi(environment) or _slurm(environment) or _tpu(environment)
    if detected is None and processes.mode == "on":
        return Joining("what JAX detects", {})
    return detected


def _from_flags(processes: Processes) -> Joining | None:
    flags = {
        "--coordinator_address": processes.coordinator_address,
        "--num_processes": processes.num_processes,
        "--process_id": processes.process_id,
    }
    missing = [name for name, value in flags.items() if value is None]
    if len(missing) == len(flags):
        return None
    given = " ".join(f"{name}={value}" for name, value in flags.items() if value is not None)
    if processes.mode == "off":
        raise DistributedError(f"{given}: --distributed=off trains in one process. Leave out the one or the other.")
    if missing:
        raise DistributedError(
            f"{given}: {' and '.join(missing)} must be given too, for machines without a scheduler need all three: "
            "HOST:PORT of process 0, the number of processes, and which of them this is, counted from 0."
        )
    address, count, index = processes.coordinator_address, processes.num_processes, processes.process_id
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise DistributedError(
            f"--coordinator_address={address}: expected HOST:PORT, the machine of process 0 as the others reach it and "
            "a free port of it, such as 10.0.0.1:1234."
        )
    if count < 1:
        raise DistributedError(f"--num_processes={count}: must be at least 1.")
    if not 0 <= index < count:
        raise DistributedError(
            f"--process_id={index}: the {count} processes of --num_processes={count} are counted from 0 to {count - 1}."
        )
    # An empty list of devices: all. Without it JAX would look for a scheduler's opinion.
    arguments = {"coordinator_address": address, "num_processes": count, "process_id": index, "local_device_ids": []}
    if host in ("localhost", "127.0.0.1"):
        arguments["coordinator_bind_address"] = f"127.0.0.1:{port}"  # nobody else shall reach it
    return Joining("the flags", arguments)


def _mpi(environment: Mapping[str, str]) -> Joining | None:
    if _number(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        alone_on_node = _number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE") == 1
        # Open MPI 5 no longer says where it was launched.
        if "OMPI_MCA_orte_hnp_uri" in environment:
            return Joining("Open MPI", _own_devices(environment, alone_on_node) | {"cluster_detection_method": "ompi"})
        return _by_mpi4py("OMPI_COMM_WORLD_SIZE", environment, alone_on_node)
    # MPICH and Intel MPI. Slurm sets it for its own steps too.
    size = _number(environment, "PMI_SIZE")
    if size > 1 and size != _number(environment, "SLURM_STEP_NUM_TASKS"):
        return _by_mpi4py("PMI_SIZE", environment, _number(environment, "MPI_LOCALNRANKS") == 1)
    return None


def _by_mpi4py(variable: str, environment: Mapping[str, str], alone_on_node: bool) -> Joining:
    if importlib.util.find_spec("mpi4py") is None:
        raise DistributedError(
            f"{variable}={environment[variable]}: MPI started several processes, which find each other by mpi4py, and "
            "that is not installed: pip install mpi4py. (--distributed=off would train in each of them by itself.)"
        )
    return Joining("MPI", _own_devices(environment, alone_on_node) | {"cluster_detection_method": "mpi4py"})


def _slurm(environment: Mapping[str, str]) -> Joining | None:
    # Not SLURM_NTASKS: in the shell of an interactive allocation that is what srun would start, and one process runs.
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS")
    if tasks <= 1:
        return None
    alone_on_node = re.fullmatch(r"1(\(x\d+\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")) is not None
    arguments = _own_devices(environment, alone_on_node)
    return Joining("Slurm", arguments | {"cluster_detection_method": "slurm", "num_processes": tasks})


def _own_devices(environment: Mapping[str, str], alone_on_node: bool) -> dict[str, Any]:
    """By default JAX gives the k-th process of a machine its k-th GPU and no other.

    A process that is alone on its machine would use one of many, and one that the scheduler has shown a single GPU
    would look for others: both are given all that they see.
    """
    shown = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    one_shown = len(shown) == 1 and shown != [""]
    if "JAX_LOCAL_DEVICE_IDS" in environment or not (alone_on_node or one_shown):
        return {}
    return {"local_device_ids": []}


def _tpu(environment: Mapping[str, str]) -> Joining | None:
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms and "tpu" not in platforms.split(","):
        return None
    slices = max(1, _number(environment, "MEGASCALE_NUM_SLICES"))
    hosts = environment.get("TPU_PROCESS_ADDRESSES", environment.get("TPU_WORKER_HOSTNAMES"))
    if hosts is not None:  # GKE; notebooks name their one machine here
        several = len(hosts.split(",")) * slices > 1
        return Joining("a TPU pod slice", {"cluster_detection_method": "gketpu"}) if several else None
    if importlib.util.find_spec("libtpu") is None or "KUBERNETES_SERVICE_HOST" in environment:
        return None
    # A Cloud TPU VM, whose metadata server JAX asks, or a machine that has the library for some other reason.
    return Joining("the TPU VM's metadata", {}, tentative=True)


def _number(environment: Mapping[str, str], variable: str) -> int:
    """0 where the variable is not set or no number."""
    value = environment.get(variable, "")
    return int(value) if value.isdigit() else 0
