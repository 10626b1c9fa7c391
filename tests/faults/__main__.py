"""Does to real runs what happens to runs, and counts what is lost.

    python -m tests.faults [--short] [--only=kills,signals,...] [--workdir=runs/faults] [--seed=0] [--jobs=2]

Trains a tiny rendered city by main.py, unbroken and then again and again broken: killed, stopped, restarted on other
devices and processes, with damaged checkpoints, on a full disk, on bad input. A broken run survives if it ends with
the bits of the unbroken one (parameters, optimiser, mining pool, mined table, history, evaluations), and if every exit
code and message on the way is the documented one (docs/reliability.md).

Prints a line a case and the total: tried, survived, lost. The exit code is 1 if anything was lost. Some twenty minutes
on two idle CPU cores, the short form less than four. Data and compiled programs stay in the workdir for the next time.
"""

import argparse
import concurrent.futures
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from absl import logging

from tests.faults import bad_input, damage, full_disk, hosts, kills, signals, topologies
from tests.faults.outcome import Case, Lost, Tally, attempt
from tests.faults.stage import Stage, prepare
from tests.faults.trainer import Trainer

# The longest cases first, so that none is left alone at the end.
CATEGORIES: dict[str, Callable[[Stage], Iterator[Case]]] = {
    "hosts": hosts.cases,
    "topologies": topologies.cases,
    "kills": kills.cases,
    "signals": signals.cases,
    "full_disk": full_disk.cases,
    "damage": damage.cases,
    "bad_input": bad_input.cases,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a few cases of each category, as in CI")
    parser.add_argument("--only", default=",".join(CATEGORIES), help="categories to try (default: all of them)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places that are chosen")
    parser.add_argument("--jobs", type=int, default=2, help="cases at the same time (default: 2)")
    args = parser.parse_args()
    chosen = args.only.split(",")
    unknown = [name for name in chosen if name not in CATEGORIES]
    if unknown:
        parser.error(f"--only={args.only}: {unknown[0]!r} is none of {', '.join(CATEGORIES)}")
    folder = args.workdir.absolute()
    shutil.rmtree(folder / "cases", ignore_errors=True)
    (folder / "cases").mkdir(parents=True)
    signal.signal(signal.SIGTERM, _interrupt)
    logging.set_verbosity(logging.ERROR)  # Orbax's, of reading single items of a checkpoint
    # One program to compile instead of two.
    trainer = Trainer(folder, ["--config.loss.hybrid_from_epoch=1"] if args.short else [])
    tally, begin = Tally(), time.monotonic()
    try:
        stage = prepare(trainer, folder / "cases", args.seed, args.short)
        print(f"Unbroken after {time.monotonic() - begin:.0f} s.", flush=True)
        cases = [case for name, cases in CATEGORIES.items() if name in chosen for case in cases(stage)]
        _try_all(cases, folder / "cases", args.jobs, tally, trainer)
    except Lost as error:
        print(f"The unbroken run failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    finally:
        trainer.end_all()
    print("", *tally.total(), "", sep="\n")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{time.monotonic() - begin:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of a CPU core.")
    return int(tally.lost)


def _try_all(cases: list[Case], folder: Path, jobs: int, tally: Tally, trainer: Trainer) -> None:
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            waiting = [
                pool.submit(attempt, case, folder / f"{number:02d}_{case.category}")
                for number, case in enumerate(cases)
            ]
            for outcome in concurrent.futures.as_completed(waiting):
                tally.add(outcome.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            trainer.end_all()  # for which the cases under way wait
            raise


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
