"""Which rows of an array each device goes through, and in which blocks."""

import dataclasses

import numpy as np
from jaxtyping import Int

from vigor_jax.retrieval.embeddings import Embeddings


@dataclasses.dataclass(frozen=True)
class DeviceLists:
    """Which rows each device goes through, in blocks: [devices * capacity], each device's part filled up with -1."""

    rows: Int[np.ndarray, "slots"]  # of the device's share of the array; 0 in the filling
    number: Int[np.ndarray, "slots"]  # of the embedding; -1 in the filling
    slot: Int[np.ndarray, "count"]  # of each embedding
    result_at: tuple[np.ndarray, np.ndarray]  # of each embedding, in results [blocks, devices * block]
    block: int  # rows a device takes at once
    blocks: int  # until every device is through

    def laid_out(self, values: np.ndarray, filling: int) -> np.ndarray:
        """Values of the embeddings by slot."""
        by_slot = np.full((len(self.rows), *values.shape[1:]), filling, values.dtype)
        by_slot[self.slot] = values
        return by_slot


def device_lists(embeddings: Embeddings, most: int, unit: int) -> DeviceLists:
    """As long for any part of an array as for the whole, so that one program serves all; blocks of some `unit`s."""
    devices = embeddings.mesh.size
    share = embeddings.array.shape[0] // devices
    # The blocks of the whole are as equal as can be, as the filling is multiplied too.
    block = -(-share // -(-share // most))
    if block > unit:
        block = -(-block // unit) * unit
    capacity = -(-share // block) * block
    device, row = np.divmod(embeddings.rows, share)
    count = np.bincount(device, minlength=devices)
    order = np.argsort(device, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    slot = device * capacity + place
    rows, number = np.zeros(devices * capacity, np.int32), np.full(devices * capacity, -1, np.int32)
    rows[slot], number[slot] = row, np.arange(len(slot))
    result_at = place // block, device * block + place % block
    return DeviceLists(rows, number, slot, result_at, block, -(-int(count.max()) // block))
