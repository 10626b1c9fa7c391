"""Evaluation beside the authors' full-matrix NumPy code: one JSON line a figure.

    python benchmarks/evaluation.py [--queries Q] [--references M] [--dims 4096 512] [--rounds 3] [--small]

`ranks`: the rank metrics of all queries. `whole`: what an evaluation makes of a split's descriptors: ranks, the five
best tiles, assisted navigation and the distances in metres, in one pass over the scores; the peer's is its recalls and,
by a second multiplication, its distances, as assisted navigation was not published. Ours reads float32 arrays on the
devices, the peer the same numbers in float64, which is how the authors' code holds them; what its ranks take in float32
stands beside. Both must agree: in each recall to the share of the queries that ties could decide, as ties count against
ours and for theirs, and in each distance to a centimetre.

Times are of turns in one process; memory is the highest that a second run, in a process of its own, needs beyond the
arrays. On a CPU 5,000 queries and 9,000 references; on an accelerator ours also at VIGOR's size, 52,605 x 90,618.
`--small` takes seconds.
"""

import argparse
import ctypes
import functools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

# Two processes share an accelerator here.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import full_matrix_evaluation as full_matrix
import jax
import jax.numpy as jnp
import numpy as np
from figures import emit, median_ratio, spread_percent, taking_turns
from gallery import Gallery, gallery
from jax.sharding import Mesh

from vigor_jax.retrieval import Embeddings, both_views, fractions, position, score_pass
from vigor_jax.retrieval.assisted_navigation import assisted_metrics, assisted_question
from vigor_jax.retrieval.ranks import ranks_question
from vigor_jax.retrieval.top_k import top_k_question

_VIGOR = (52_605, 90_618)
_FRACTION = (5_000, 9_000)
_SMALL = {"queries": 600, "references": 1_100, "dims": [256], "rounds": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=_FRACTION[0])
    parser.add_argument("--references", type=int, default=_FRACTION[1])
    parser.add_argument("--dims", type=int, nargs="+", default=[4096, 512])
    parser.add_argument("--rounds", type=int, default=3, help="turns that are timed")
    parser.add_argument("--small", action="store_true", help="seconds on a CPU, whatever the other flags say")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)  # prints the bytes of one program
    args = parser.parse_args()
    if args.small:
        vars(args).update(_SMALL)
    if args.memory_of:
        print(json.dumps(_extra_bytes(args.memory_of, (args.queries, args.references, *args.dims))))
        return
    for dim in args.dims:
        _beside_the_peer((args.queries, args.references, dim), args.rounds)
        _compiled_memory((*_VIGOR, dim))
    if jax.default_backend() != "cpu" and not args.small:
        for dim in args.dims:
            _alone((*_VIGOR, dim), args.rounds)


def _beside_the_peer(size: tuple[int, int, int], rounds: int) -> None:
    data = gallery(*size)
    ours, peer, peer_float32 = Ours(data), Peer(data, np.float64), Peer(data, np.float32)
    differing = _check(data, ours, peer)
    for what in ("ranks", "whole"):
        programs = {"ours": ours, "peer": peer} | ({"peer_float32": peer_float32} if what == "ranks" else {})
        times = taking_turns({name: getattr(program, what) for name, program in programs.items()}, rounds)
        memory = {name: _memory(f"{name}.{what}", size) for name in ("ours", "peer")}
        emit(
            f"evaluation/{what}_s",
            ours=statistics.median(times["ours"]),
            peer=statistics.median(times["peer"]),
            ratio=median_ratio(times["peer"], times["ours"]),
            peer_is="the authors' full matrix in float64 NumPy, in this run",
            **_in_float32(times),
            limit=_limit(size),
            limit_is="2 Q M D operations at the rate of a float32 product of blocks of this size",
            spread_percent=spread_percent(times["ours"]),
            passes=1,
            largest_difference_of_recalls=differing,
            **_described(size),
        )
        emit(
            f"evaluation/{what}_memory_mib",
            ours=memory["ours"],
            peer=memory["peer"],
            ratio=memory["peer"] / memory["ours"] if all(memory.values()) else None,
            limit=None,
            limit_is="no extra memory",
            peer_is="likewise beyond its arrays, which are twice as large",
            arrays=4 * (size[0] + size[1]) * size[2] / 2**20,
            **_described(size),
        )


def _in_float32(times: dict[str, list[float]]) -> dict[str, float]:
    if "peer_float32" not in times:
        return {}
    return {
        "peer_float32": statistics.median(times["peer_float32"]),
        "ratio_to_float32": median_ratio(times["peer_float32"], times["ours"]),
    }


def _alone(size: tuple[int, int, int], rounds: int) -> None:
    ours = Ours(gallery(*size))
    times = taking_turns({"ranks": ours.ranks, "whole": ours.whole}, rounds)
    for what, seconds in times.items():
        emit(
            f"evaluation/vigor_{what}_s",
            ours=statistics.median(seconds),
            spread_percent=spread_percent(seconds),
            limit=_limit(size),
            limit_is="2 Q M D operations at the rate of a float32 product of blocks of this size",
            peer=None,
            peer_is="evaluation/vigor_memory_mib",
            passes=1,
            extra_mib=_memory(f"ours.{what}", size),
            arrays_mib=4 * (size[0] + size[1]) * size[2] / 2**20,
            **_described(size),
        )


def _compiled_memory(size: tuple[int, int, int]) -> None:
    """Of one pass with all questions at VIGOR's size, which is compiled and not run."""
    queries, references, dim = size
    mesh = Mesh(np.array(jax.devices()[:1]), ("rows",))
    views = [
        Embeddings(jax.ShapeDtypeStruct((rows, dim), np.float32), mesh, np.arange(rows), np.ones(rows, np.float32))
        for rows in (queries, references)
    ]
    questions = [
        ranks_question(np.tile(np.arange(4), (queries, 1)), references),
        top_k_question(5, queries),
        assisted_question(np.zeros((queries, 121), np.int32)),  # the most tiles that a window of +-200 m can hold
    ]
    blocks = {"of_a_cpu": score_pass.CPU_BLOCKS, "of_an_accelerator": score_pass.ACCELERATOR_BLOCKS}
    emit(
        "evaluation/vigor_memory_mib",
        **{
            name: score_pass.extra_bytes(*views, *questions, query_block=q, reference_block=m) / 2**20
            for name, (q, m) in blocks.items()
        },
        limit=None,
        limit_is="no extra memory",
        peer=2 * 8 * queries * references / 2**20,
        peer_is="its matrix of scores and the one of distances, by their size",
        arrays=4 * (queries + references) * dim / 2**20,
        **_described(size),
    )


class Ours:
    """As `vigor_jax.tasks.cross_view.evaluation` does it, from descriptors that are on the devices."""

    def __init__(self, data: Gallery):
        self._data = data
        self._arrays = jax.block_until_ready((jnp.asarray(data.ground), jnp.asarray(data.aerial)))

    def ranks(self) -> dict[str, float]:
        """All six recalls."""
        return fractions(self._found()[0])

    def whole(self) -> tuple[dict[str, float], np.ndarray]:
        """(recalls, metres to the centre of each query's best tile)."""
        data = self._data
        ranked, (_, best), assisted = self._found(top_k_question(5, len(data.ground)), assisted_question(data.windows))
        found = [x[best[:, 0]] for x in data.tile_at]
        errors = position.position_errors_m(*data.query_at, *found, np.zeros((len(best), 2)))
        metrics = fractions(ranked) | position.summary(errors)
        metrics |= {f"assisted_{k}": v for k, v in assisted_metrics(assisted, *data.query_at, *data.tile_at).items()}
        return metrics, errors

    def _found(self, *others: Any) -> tuple[Any, ...]:
        views = both_views(*self._arrays, *(np.arange(len(x)) for x in self._arrays))
        return score_pass.score_pass(*views, ranks_question(self._data.references, len(self._data.aerial)), *others)


class Peer:
    """As the authors do it."""

    def __init__(self, data: Gallery, dtype: Any):
        self._data = data
        self._arrays = data.ground.astype(dtype), data.aerial.astype(dtype)

    def ranks(self) -> dict[str, float]:
        """The four recalls that the authors have."""
        return full_matrix.recalls(*self._arrays, self._data.references)

    def whole(self) -> tuple[dict[str, float], np.ndarray]:
        """(recalls, metres to the centre of each query's best tile)."""
        return self.ranks(), full_matrix.errors_m(*self._arrays, *self._data.names)


def _check(data: Gallery, ours: Ours, peer: Peer) -> float:
    """The largest difference of a recall, which must be no more than near ties can make."""
    (found, metres), (expected, expected_metres) = ours.whole(), peer.whole()
    positive = np.einsum("qd,qd->q", data.ground, data.aerial[data.references[:, 0]])
    ambiguous = 0
    for first in range(0, len(positive), 256):
        near = data.ground[first : first + 256] @ data.aerial.T - positive[first : first + 256, None]
        ambiguous += int(np.sum(np.sum(np.abs(near) <= 2 * score_pass.TIE_TOLERANCE, axis=1) > 1))
    differences = {name: abs(found[name] - expected[name]) for name in expected}
    assert max(differences.values()) <= ambiguous / len(positive), (differences, ambiguous)
    # The best tile may be another where two tie.
    assert np.mean(np.abs(metres - expected_metres) > 0.01) <= ambiguous / len(positive)
    assert 0.1 < expected["top1"] < expected["top5"] < expected["top1_percent"] < 1, expected
    return max(differences.values())


def _described(size: tuple[int, int, int]) -> dict[str, int]:
    return dict(zip(("queries", "references", "dim"), size, strict=True))


@functools.cache
def _limit(size: tuple[int, int, int]) -> float:
    """Seconds."""
    queries, references, dim = size
    a, b = (jnp.ones((rows, dim), jnp.float32) for rows in (min(queries, 4096), min(references, 8192)))
    product = jax.jit(lambda a, b: jnp.sum(jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST), axis=0))
    (seconds,) = taking_turns({"product": lambda: jax.block_until_ready(product(a, b))}, 3).values()
    return min(seconds) * (queries / len(a)) * (references / len(b))


def _memory(program: str, size: tuple[int, int, int]) -> float | None:
    """MiB that it takes beyond its arrays, measured in a process of its own; None where that cannot be measured."""
    flags = [f"--memory_of={program}", f"--queries={size[0]}", f"--references={size[1]}", f"--dims={size[2]}"]
    done = subprocess.run([sys.executable, __file__, *flags], check=True, stdout=subprocess.PIPE, text=True)
    extra = json.loads(done.stdout.splitlines()[-1])
    return None if extra is None else extra / 2**20


def _extra_bytes(name: str, size: tuple[int, int, int]) -> int | None:
    side, what = name.split(".")
    data = gallery(*size)
    program: Callable[[], Any] = getattr(Ours(data) if side == "ours" else Peer(data, np.float64), what)
    if side == "ours":
        program()  # compiles, which takes memory of its own
    if side == "ours" and jax.default_backend() != "cpu":
        return _extra_on_device(program)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is only kept for later would hide what is needed
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the peak starts anew
        before = _status("VmRSS")
        program()
        return _status("VmHWM") - before
    except OSError:  # not on Linux
        return None


def _extra_on_device(program: Callable[[], Any]) -> int | None:
    """The peak of the process, which the first call has reached already."""
    device = jax.local_devices()[0]
    statistics_before = device.memory_stats()
    if not statistics_before:
        return None
    program()
    return device.memory_stats()["peak_bytes_in_use"] - statistics_before["bytes_in_use"]


def _status(key: str) -> int:
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
