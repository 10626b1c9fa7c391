"""Checksums of what a checkpoint holds, by which a byte that changed on the way to the disk and back is noticed."""

import functools
import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Shaped, UInt32


def of_state(tree: Any) -> dict[str, str]:
    """`{"params/aerial/kernel": 16 hexadecimal digits}` of a tree of arrays on the devices, computed there.

    They are sums of integers made of each element's bits and position, exact in any order, to which zeros add
    nothing: the same for any sharding, and for rows of zeros appended as padding. A change of a single element is
    always noticed, any other but for one in 2^64. To be called on every host alike.
    """
    sums = {
        jax.tree_util.keystr(path, simple=True, separator="/"): _on_devices(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    return {name: f"{first:08x}{second:08x}" for name, (first, second) in jax.device_get(sums).items()}


def of_array(array: np.ndarray | np.generic) -> str:
    """16 hexadecimal digits of an array or a scalar of the host."""
    array = np.asarray(array)
    header = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _on_devices(leaf: jax.Array) -> jax.Array:
    if leaf.is_fully_replicated:
        # One copy's is everyone's, and its program serves any number of devices.
        return _checksum(leaf.addressable_data(0), None)
    # Whole on every device, for each host to read.
    return _checksum(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))


@functools.partial(jax.jit, static_argnames="sharding")
def _checksum(leaf: Shaped[Array, "..."], sharding: NamedSharding | None) -> UInt32[Array, "2"]:
    sums = _sums(_words(leaf))
    return sums if sharding is None else jax.lax.with_sharding_constraint(sums, sharding)


def _words(leaf: Shaped[Array, "..."]) -> UInt32[Array, "..."]:
    """The bits of each element, one word an element or, of those of 64 bits, two."""
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    bits = 8 * leaf.dtype.itemsize
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{min(bits, 32)}")).astype(jnp.uint32)


def _sums(words: UInt32[Array, "..."]) -> UInt32[Array, "2"]:
    # Of each position in row-major order, without a reshape, which would gather a sharded array. It overflows beyond
    # 2^32 elements, as all here does, which only makes some weights equal.
    position = jnp.zeros((), jnp.uint32)
    for axis in range(words.ndim):
        stride = np.uint32(math.prod(words.shape[axis + 1 :]) % 2**32)
        position = position + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * stride
    # Odd numbers have inverses modulo 2^32, so no change of one word is lost. In the plain sum an even number of
    # changed signs would be: their difference is 2^31 times an odd number. So the second one mixes the bits first.
    first = words * (_mixed(position) | 1)
    second = _mixed(words) * (_mixed(~position) | 1)
    return jnp.stack([jnp.sum(first, dtype=jnp.uint32), jnp.sum(second, dtype=jnp.uint32)])


def _mixed(words: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Multiplies and shifts so that every bit depends on all; 0 stays 0, and no two words become the same."""
    for shift, odd in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        words = (words ^ (words >> shift)) * np.uint32(odd)
    return words ^ (words >> 16)
