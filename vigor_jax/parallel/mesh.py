"""All devices on one axis, and the one way a per-device program is mapped over them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vigor_jax.config import ConfigError

AXIS = "data"


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Lays devices (default: all, of all hosts) along the one axis "data".

    They are ordered by host, so that the h-th contiguous block of a sharded batch belongs to host h.
    """
    devices = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    # Auto: arrays are moved to where in_specs want them instead of being refused.
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that lies whole on every device of `mesh`."""
    return NamedSharding(mesh, PartitionSpec())


def require_divisible(batch_size: int, mesh: Mesh, micro_batch_size: int = 0) -> None:
    """Refuses a global batch that the devices cannot share evenly, or a share that is no whole number of micro-batches.

    Args:
      batch_size: over all devices.
      mesh: of the devices.
      micro_batch_size: of one device; 0 for none.

    Raises:
      ConfigError: names the sizes that can be.
    """
    devices, hosts = mesh.size, jax.process_count()
    where = f"{devices} devices ({hosts} host{'s' if hosts > 1 else ''})"
    if batch_size % devices:
        below = batch_size // devices * devices
        sizes = [size for size in (below, below + devices) if size >= 2]
        raise ConfigError(
            f"config.batch.size = {batch_size} cannot be divided among {where}. The nearest sizes that can: "
            f"{', '.join(map(str, sizes))}."
        )
    share = batch_size // devices
    if micro_batch_size and share % micro_batch_size:
        sizes = [size for size in range(1, share + 1) if share % size == 0]
        raise ConfigError(
            f"config.micro_batch_size = {micro_batch_size} does not divide the {share} pairs of each device: "
            f"config.batch.size = {batch_size} on {where}. Sizes that do: {', '.join(map(str, sizes))}; 0 takes all at "
            "once."
        )


def pmap(
    fn: Callable[..., Any], mesh: Mesh, in_specs: Any, out_specs: Any, donate_argnums: int | Sequence[int] = ()
) -> Callable[..., Any]:
    """Maps a per-device program over `mesh` and compiles it.

    `jax.pmap` is itself `jit` over `shard_map` since JAX 0.8, but it stacks every argument along a device axis: the
    replicated state would carry one, and on many hosts each call would convert between local and global arrays. Here
    `in_specs` and `out_specs` say per argument whether it is replicated (`P()`) or sharded (`P("data")`).

    Replication is checked (`check_vma`): an output that `out_specs` calls replicated must be so provably. It also
    makes `jax.grad` inside `fn` sum the gradients of replicated parameters over the axis by itself: a further
    `lax.psum` of such a gradient is wrong by the number of devices.

    Args:
      fn: per-device program; sees its shard of every argument, and the axis name "data" for collectives.
      mesh: of `data_mesh`.
      in_specs: a `PartitionSpec` (or a tree of them) for each argument.
      out_specs: likewise for the results.
      donate_argnums: arguments whose buffers the results may take over.
    """
    mapped = jax.shard_map(fn, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True)
    return jax.jit(mapped, donate_argnums=donate_argnums)
