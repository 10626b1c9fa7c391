"""Examples a second from prepared files to the device, beside OpenCV reading the original ones: JSON lines.

    python benchmarks/input_pipeline.py [--small]

Files of VIGOR's sizes are made (`original_files`), of two contents, and prepared as `prepare` does. One core then takes
turns at

- ours: `input.batches.train_batches` with one thread, and `DeviceFeed`, until the batches are on the device;
- the peer: what the authors' loader does (Zhu, Yang, Chen, CVPR 2021; dataloader.py), to float32 batches on the host:
  OpenCV reads the original file, and makes it float32, averages it down and takes the means off;
- the same with OpenCV averaging bytes before they become float32, which the authors could have done;
- the codec: simplejpeg decoding the bytes that ours reads, from memory into memory that is there. No less will do, so
  this is the limit.

All files are in the page cache, for everybody: the disk does not count. `of_one_core` has the rates, `preparation` what
is paid for them once, `beside_decoding` what an example costs but for decoding, which bounds the part that threads
cannot share, `threads` the rate by the number of threads on all cores, `transfer` the way to the device.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import original_files
import simplejpeg
from figures import emit, taking_turns
from input_programs import Programs
from original_loader import BGR_MEANS, as_the_authors, at_its_best

from vigor_jax.datasets.cross_view import CrossViewData
from vigor_jax.datasets.vigor import vigor_dataset_builder

_WANTED = 600  # hybrid examples a second that one accelerator is to be fed with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few files and one round: that it runs, not how fast")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cores = os.sched_getaffinity(0)
    side, batch, batches, rounds = (5, 2, 4, 1) if args.small else (12, 16, 12, args.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        for content in original_files.CONTENTS:
            root = Path(scratch) / content.name
            kilobytes = original_files.write(root, content, side)
            data, prepared_kb = _prepare(root, content.name, kilobytes)
            for hybrid in (True, False):
                programs = Programs(data, root, batch, hybrid)
                _assert_agreement(programs)
                what = {"example": "hybrid" if hybrid else "pair", "content": content.name}
                pin({min(cores)})
                _of_one_core(programs, batches, rounds, what | kilobytes | prepared_kb)
                if content is original_files.CONTENTS[0]:
                    _beside_decoding(programs, batches, what)
                    pin(cores)
                    _transfer(programs, what)
                    _threads(programs, batches, what, 1 if args.small else rounds)
                pin(cores)


def pin(cores: set[int]) -> None:
    """Lets every thread of this process, JAX's too, run on these cores alone; new ones inherit it."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def _prepare(root: Path, content: str, kilobytes: dict[str, float]) -> tuple[CrossViewData, dict[str, float]]:
    begin, busy = time.perf_counter(), time.process_time()
    config = original_files.config(root, root / "prepared")
    data = vigor_dataset_builder.load(config, config.train_cities)
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    images = len(data.aerial) + len(data.ground)
    prepared = {
        f"prepared_{name}_kb": sum(len(encoded[row]) for row in range(len(encoded))) / len(encoded) / 1000
        for name, encoded in (("tile", data.aerial), ("panorama", data.ground))
    }
    emit(
        "input_pipeline/preparation",
        s_per_1000_images=1000 * seconds / images,
        core_s_per_1000_images=1000 * busy / images,
        images=images,
        content=content,
        **kilobytes,
        **prepared,
        limit=None,
        limit_is="reading and averaging the originals once, which the peer does every time",
        peer=None,
        peer_is="has none",
    )
    return data, prepared


def _assert_agreement(programs: Programs) -> None:
    """The peer's images are ours, but for what JPEG changes."""
    batches = programs.host_batches(0)
    ours = next(batches)
    batches.close()
    for read in (as_the_authors, at_its_best):
        for name, theirs in programs.original_batch(0, read).items():
            difference = np.abs(ours[name][..., ::-1] - np.float32(BGR_MEANS) - theirs).mean()
            assert difference < 4, f"{name}: {difference:.1f} of 255 from the peer's"


def _of_one_core(programs: Programs, batches: int, rounds: int, what: dict[str, Any]) -> None:
    contenders = {
        "ours": lambda: programs.ours(2 * batches, threads=1),
        "authors": lambda: programs.originals(max(1, batches // 4), as_the_authors),
        "best": lambda: programs.originals(max(1, batches // 4), at_its_best),
        "codec": lambda: programs.codec(batches),
    }
    # One round that is not counted, in which files are read from the disk and memory is had.
    turns = [{name: program() for name, program in contenders.items()} for _ in range(rounds + 1)][1:]

    def rate(name: str) -> float:
        return 1 / statistics.median(turn[name][0] for turn in turns)

    def ratio(slow: str, fast: str, clock: int = 0) -> float:
        return statistics.median(turn[slow][clock] / turn[fast][clock] for turn in turns)

    emit(
        "input_pipeline/of_one_core",
        examples_per_s=rate("ours"),
        limit=rate("codec"),
        limit_is="simplejpeg alone on the same bytes",
        peer=rate("authors"),
        peer_is="OpenCV on the original files, as the authors' loader does it",
        peer_at_its_best=rate("best"),
        times_the_peer=ratio("authors", "ours"),
        times_the_peer_by_cpu_time=ratio("authors", "ours", 1),
        times_the_peer_at_its_best=ratio("best", "ours"),
        over_the_codec_percent=100 * (ratio("ours", "codec") - 1),
        over_the_codec_percent_by_cpu_time=100 * (ratio("ours", "codec", 1) - 1),
        spread_percent=100 * (max(t := [turn["ours"][0] for turn in turns]) - min(t)) / statistics.median(t),
        cpu_ms=1000 * statistics.median(turn["ours"][1] for turn in turns),
        rounds=rounds,
        batch=programs.batch,
        **what,
    )


def _beside_decoding(programs: Programs, batches: int, what: dict[str, Any]) -> None:
    real = simplejpeg.decode_jpeg

    def nothing(data: bytes, buffer: np.ndarray | None = None, **options: Any) -> np.ndarray:
        # The first image of each view is decoded into no buffer: it tells the size.
        return real(data, **options) if buffer is None else buffer

    whole = programs.ours(2 * batches, threads=1)
    with mock.patch.object(simplejpeg, "decode_jpeg", nothing):
        beside = programs.ours(8 * batches, threads=1)
    emit(
        "input_pipeline/beside_decoding",
        cpu_ms=1000 * beside[1],
        limit=1000 / _WANTED,
        limit_is=f"all that Python's lock leaves at {_WANTED} examples/s, if every bit of this held it",
        peer=None,
        peer_is="reads in its training loop",
        share_percent=100 * beside[1] / whole[1],
        batch=programs.batch,
        **what,
    )


def _transfer(programs: Programs, what: dict[str, Any]) -> None:
    batches = programs.host_batches(0)
    batch = next(batches)
    batches.close()
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    floats = {name: array.astype(np.float32) for name, array in batch.items() if array.ndim == 4}

    def put(arrays: dict[str, np.ndarray]) -> None:
        jax.block_until_ready(jax.make_array_from_process_local_data(sharding, arrays))

    seconds = taking_turns(
        {
            "ours": lambda: put(batch),
            "float32": lambda: put(floats),
            "copy": lambda: [array.copy() for array in batch.values()],
        },
        20,
    )
    each = {name: 1000 * statistics.median(times) / programs.batch for name, times in seconds.items()}
    emit(
        "input_pipeline/transfer",
        ms_per_example=each["ours"],
        bytes_per_example=sum(array.nbytes for array in batch.values()) // programs.batch,
        arrays=len(batch),
        limit=each["copy"] if jax.default_backend() == "cpu" else None,
        limit_is="a copy in the host's memory" if jax.default_backend() == "cpu" else "the bus",
        peer=each["float32"],
        peer_is="the same images as float32, which the authors' loader hands on",
        batch=programs.batch,
        **what,
    )


def _threads(programs: Programs, batches: int, what: dict[str, Any], rounds: int) -> None:
    counts = (1, 2, 4, 8, 16)
    turns = [{threads: programs.ours(batches, threads) for threads in counts} for _ in range(rounds)]
    cores = len(os.sched_getaffinity(0))
    one = statistics.median(turn[1][0] for turn in turns)
    for threads in counts:
        seconds = statistics.median(turn[threads][0] for turn in turns)
        emit(
            "input_pipeline/threads",
            threads=threads,
            examples_per_s=1 / seconds,
            cpu_ms=1000 * statistics.median(turn[threads][1] for turn in turns),
            limit=min(threads, cores) / one,
            limit_is="one thread's rate on as many cores as these threads can use",
            peer=None,
            peer_is="has one thread",
            batch=programs.batch,
            **what,
        )


if __name__ == "__main__":
    main()
