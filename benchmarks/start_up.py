"""How long `main.py` takes to its first step: with nothing compiled, and with what the start before it has left.

    python benchmarks/start_up.py [--config configs/demo.py] [--rounds 3] [--small] [-- --config.KEY=VALUE ...]

Each round empties the compilation cache and starts main.py twice, as processes of their own, each ended after its first
step. The data is prepared before. Prints one JSON line a kind of start: seconds to the first step, and how they divide
into loading the libraries, opening the data, making the first state, waiting for the first batch, making the program
and doing the step, medians over the rounds. Without flags the size is that of the demo; --small is a round with a few
tiles, compiled without optimisations.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import emit

ROOT = Path(__file__).parents[1]
SMALL = {
    "data.train_cities": "('Ashford',)",
    "data.test_cities": "()",
    "data.same_area_cities": "()",
    "data.protocols": "('same_area',)",
    "rendered_city.train_tiles_per_side": 6,
    "batch.size": 4,
}
FAST_COMPILER = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
_DATA = re.compile("^Validation holds out")
_FIRST_STEP = re.compile(r"The first step was done after .*?: (.*)\.$")
_STAGE = re.compile(r"([a-z ]+) ([\d.]+) s")
TARGET_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/demo.py", help="as for main.py")
    parser.add_argument("--rounds", type=int, default=3, help="cold and warm starts")
    parser.add_argument("--small", action="store_true", help="one round with a few tiles, whatever the other flags say")
    parser.add_argument("flags", nargs="*", help="further flags of main.py, after --")
    args = parser.parse_args()
    flags = [f"--config={args.config}", *args.flags]
    if args.small:
        args.rounds = 1
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_COMPILER}"
        flags += [f"--config.{key}={value}" for key, value in SMALL.items()]
    with tempfile.TemporaryDirectory(prefix="start-up-") as folder:
        flags.append(f"--config.data.data_dir={folder}/prepared")
        _run_until(_DATA, Path(folder, "preparing"), Path(folder, "preparing", "cache"), flags)
        found: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
        for k in range(args.rounds):
            for kind, starts in found.items():
                starts.append(_start(Path(folder, f"{kind}-{k}"), Path(folder, f"cache-{k}"), flags))
    # Not before: it makes this process one that holds the accelerator.
    for kind, starts in found.items():
        stages = {
            f"{stage.replace(' ', '_')}_s": statistics.median(each[stage] for each in starts) for stage in starts[0]
        }
        emit(
            f"start_up/{kind}",
            **stages,
            config=args.config,
            small=args.small,
            rounds=args.rounds,
            target_s=TARGET_S if kind == "warm" else None,
            target_is="second start to first step, on an accelerator",
            limit=None,
            limit_is="no hardware's: compiling, reading programs, importing Python",
            peer=None,
            peer_is="the published code has no cache to start from",
        )


def _start(workdir: Path, cache: Path, flags: list[str]) -> dict[str, float]:
    """Seconds of each stage of a start, and in all."""
    done, whole = _run_until(_FIRST_STEP, workdir, cache, flags)
    stages = {stage.strip(", "): float(seconds) for stage, seconds in _STAGE.findall(done[1])}
    return {"whole": whole, "libraries": whole - sum(stages.values()), **stages}


def _run_until(line: re.Pattern[str], workdir: Path, cache: Path, flags: list[str]) -> tuple[re.Match[str], float]:
    """Starts main.py and ends it when it logs such a line, which is returned with the seconds until then."""
    command = [sys.executable, ROOT / "main.py", *flags, f"--workdir={workdir}"]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    begin, lines = time.perf_counter(), []
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        for text in process.stderr:
            lines.append(text)
            found = line.search(text.rstrip())
            if found:
                return found, time.perf_counter() - begin
    finally:
        process.kill()
        process.wait()
    raise SystemExit(f"{' '.join(map(str, command))} ended without a step:\n{''.join(lines)}")


if __name__ == "__main__":
    main()
