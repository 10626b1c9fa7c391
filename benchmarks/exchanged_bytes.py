"""Bytes that a compiled program's devices exchange, read off the program, and the same on paper."""

import math
import re

_KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_INSTRUCTION = re.compile(rf"= (?P<type>\(.*?\)|\S+) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"(?P<type>[a-z]\w*)\[(?P<shape>[\d,]*)\]")
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}


def in_program(text: str) -> dict[str, int]:
    """`{kind of collective: bytes}` of the results of all collectives of one device, each executed once.

    Args:
      text: of the compiled program (`compiled.as_text()`).

    Raises:
      ValueError: an element type that is not known here.
    """
    found = dict.fromkeys(_KINDS, 0)
    for instruction in _INSTRUCTION.finditer(text):
        arrays = [_size(array) for array in _ARRAY.finditer(instruction["type"])]
        if instruction["start"] and instruction["kind"] != "all-reduce":
            arrays = arrays[len(arrays) // 2 :]  # the operands stand before the results
        found[instruction["kind"]] += sum(arrays)
    return found


def of_a_step(
    devices: int, *, batch: int, dim: int, hardest: int, parameter_bytes: int, own: int = 4
) -> dict[str, int]:
    """The same of a training step of `SafaStep`, on paper.

    Every device gathers the descriptors of both views and gets back the gradient of its own part of them; the
    gradient of the parameters is summed over all; each sends the best of its part of the pool to the devices that the
    panoramas came from, and all learn the outcome. With one device nothing is exchanged.

    Args:
      devices: that share the batch.
      batch: pairs, over all devices.
      dim: of a descriptor.
      hardest: tiles found for each panorama in the pool; 0: no mining.
      parameter_bytes: of all parameters.
      own: references of a panorama, which mining must know beside its id and its city.
    """
    if devices == 1:
        return dict.fromkeys(_KINDS, 0)
    descriptors = 2 * batch * dim * 4
    mined = batch * hardest * 4
    ids = batch * (1 + own + 1) * 4 if hardest else 0
    return dict.fromkeys(_KINDS, 0) | {
        "all-gather": descriptors + ids + mined,
        "reduce-scatter": descriptors // devices,
        "all-reduce": parameter_bytes,
        "all-to-all": 2 * mined,  # scores and ids
    }


def received(results: dict[str, int], devices: int) -> int:
    """Bytes that a device receives at least for results of those sizes, on a ring.

    Of a gathered array it has its own part; an array is summed by scattering partial sums and gathering the totals.
    """
    others = (devices - 1) / devices
    return round(
        others * (results["all-gather"] + results["all-to-all"] + 2 * results["all-reduce"])
        + (devices - 1) * results["reduce-scatter"]
        + results["collective-permute"]
    )


def _size(array: re.Match[str]) -> int:
    if array["type"] not in _BYTES:
        raise ValueError(f"a collective of {array['type']} arrays: its size is not known here")
    return _BYTES[array["type"]] * math.prod(int(side) for side in array["shape"].split(",") if side)
