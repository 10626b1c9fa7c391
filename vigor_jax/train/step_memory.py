"""How much of a device's memory a compiled step takes, before it is run."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax

from vigor_jax.input.pipeline_depth import BATCHES_ON_DEVICES, STEPS_IN_FLIGHT
from vigor_jax.train.memory import Limit, readable
from vigor_jax.train.state import TrainState

# That lie on the devices at once: those that wait, those of steps under way, and that of the step handed over next.
_BATCHES = BATCHES_ON_DEVICES + STEPS_IN_FLIGHT + 1
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class StepMemory:
    """Bytes on each device.

    Attributes:
      state: of the parts of the state that are larger than nothing, by names for people.
      batch: this device's rows of one batch.
      temporaries: what the step holds on to within itself: activations, gradients, the compiler's working memory.
      results: what it hands back beside the new state, which takes the place of the old one.
      program: the machine code, where it lies in the same memory.
    """

    state: Mapping[str, int]
    batch: int
    temporaries: int
    results: int
    program: int

    @classmethod
    def of(cls, program: jax.stages.Compiled, state: TrainState, batch: dict[str, jax.Array]) -> "StepMemory | None":
        """Of a program that was compiled for them; None where the backend does not say."""
        found = program.memory_analysis()
        if found is None:
            return None
        parts = {
            "parameters": (state.params, state.model_state),
            "optimiser": state.opt_state,
            "carried from step to step": state.carry,
        }
        sizes = {name: _bytes_a_device(part) for name, part in parts.items()}
        return cls(
            state={name: size for name, size in sizes.items() if size},
            batch=_bytes_a_device(batch),
            temporaries=found.temp_size_in_bytes,
            results=max(0, found.output_size_in_bytes - found.alias_size_in_bytes),
            program=found.generated_code_size_in_bytes,
        )

    @property
    def step(self) -> int:
        """What one step alone needs."""
        return sum(self.state.values()) + self.batch + self.temporaries + self.results + self.program

    @property
    def total(self) -> int:
        """With the batches that are read ahead."""
        return self.step + (_BATCHES - 1) * self.batch

    def sentence(self, limit: Limit | None) -> str:
        """Of what it is made up, and what there is."""
        parts = dict(self.state) | {
            f"{_BATCHES} batches": _BATCHES * self.batch,
            "temporaries": self.temporaries,
            "results": self.results,
            "program": self.program,
        }
        listed = ", ".join(f"{name} {readable(size)}" for name, size in parts.items() if size >= _MIB)
        there_is = "" if limit is None else f" of {limit}"
        return f"Memory of a step on each device: {readable(self.total)}{there_is}" + (
            f": {listed}." if listed else "."
        )


def _bytes_a_device(tree: Any) -> int:
    leaves = jax.tree.leaves(tree)
    return sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)
