"""Every benchmark runs at a size of seconds and says what it measured; and what they have in common counts rightly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Those that print figures; training_fit.py measures runs of the reader's.
PROGRAMS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if '"--small"' in path.read_text())
GATHER = '  %g = f32[16,256]{1,0} all-gather(%x), channel_id=1, dimensions={0}, metadata={op_name="all_gather"}\n'
STARTED = "  %s = (f32[4,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%x), channel_id=1\n"
DONE = "  %d = f32[16,8]{1,0} all-gather-done(%s)\n"
SUMS = "  %r = (f32[3,3]{1,0}, /*index=1*/bf16[], s32[5]{0}) all-reduce(%a, %b, %c), to_apply=%add\n"


@pytest.mark.bench
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_benchmark_runs_small(program):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{program}.py"), "--small"],
        env={**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert figures
    for figure in figures:
        assert figure["figure"].startswith(f"{program}/")
        assert {"device", "host_cores", "versions", "date"} <= figure.keys()


def test_the_programs_of_the_issue_are_among_them():
    assert {"evaluation", "growth", "input_pipeline", "mining", "render", "train_step"} <= set(PROGRAMS)


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        (GATHER, "all-gather", 16 * 256 * 4),
        (STARTED + DONE, "all-gather", 16 * 8 * 4),
        (SUMS, "all-reduce", 9 * 4 + 2 + 5 * 4),
        (GATHER + GATHER, "all-gather", 2 * 16 * 256 * 4),
    ],
)
def test_exchanged_bytes_are_read_off_the_program(benchmark_module, text, kind, size):
    found = benchmark_module("exchanged_bytes").in_program(text)
    assert found.pop(kind) == size
    assert set(found.values()) == {0}


def test_an_array_type_that_is_not_known_is_refused(benchmark_module):
    with pytest.raises(ValueError, match="f8e4m3"):
        benchmark_module("exchanged_bytes").in_program("%g = f8e4m3[16]{0} all-gather(%x)")


def test_a_ring_receives_what_is_not_its_own(benchmark_module):
    exchanged = benchmark_module("exchanged_bytes")
    paper = exchanged.of_a_step(4, batch=8, dim=16, hardest=0, parameter_bytes=1000)
    # Three of four parts of both views' descriptors, the gradients of its own from three others, and twice (for the
    # partial sums and for the totals) three quarters of the parameters.
    assert exchanged.received(paper, 4) == 3 * (2 * 2 * 16 * 4) + 3 * (2 * 2 * 16 * 4) + 2 * 750
    assert exchanged.received(exchanged.of_a_step(1, batch=8, dim=16, hardest=5, parameter_bytes=1000), 1) == 0


def test_turns_are_taken_and_the_first_is_not_counted(benchmark_module):
    figures, order = benchmark_module("figures"), []
    seconds = figures.taking_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_are_taken_within_a_round(benchmark_module):
    # The machine was three times slower in the second round; the ratio does not see it.
    assert benchmark_module("figures").median_ratio([2.0, 6.0, 2.2], [1.0, 3.0, 1.0]) == 2.0
