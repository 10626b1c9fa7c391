"""Joining and leaving, and going on or stopping together, in processes of their own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vigor_jax.parallel import distributed

ROOT = Path(__file__).parents[2]
_JOIN = """
import sys
from vigor_jax import console
from vigor_jax.parallel import distributed
from vigor_jax.parallel.cluster import Processes
from vigor_jax.errors import UserError

console.set_up()
code = 1
try:
    distributed.join(Processes("auto", sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), timeout_s=int(sys.argv[4]))
    exec(open(sys.argv[5]).read())
    code = 0
except UserError as error:
    console.say(f"error: {error}")
    code = 2
finally:
    distributed.leave(code)
sys.exit(code)
"""
_MEETINGS = """
from pathlib import Path
import jax
from absl import logging
from vigor_jax import console
from vigor_jax.parallel import hosts
from vigor_jax.parallel.hosts import HostsDiffer, StoppedTogether

me = jax.process_index()
log = []

def expect(kind, part, call):
    try:
        call()
    except kind as error:
        assert part in str(error), error
        return
    raise AssertionError(f"no {kind} with {part}")

def fail_on(*where, say="no data at /x", first_line_only="\\nHow to get it"):
    def do():
        log.append(me)
        if me in where:
            raise UserError(say + first_line_only)
        return me
    return do

assert hosts.together(fail_on()) == me
assert hosts.first_then_others(fail_on()) == me
assert hosts.from_first(lambda: {"host": me}) == {"host": 0}

# Whoever fails first says why, the others that they stop too; without a word of advice, for that one gives it.
for failing, teller in ((0,), 0), ((1,), 1), ((0, 1), 0):
    if me == teller:
        expect(UserError, "no data at /x\\nHow to get it", lambda: hosts.together(fail_on(*failing)))
    else:
        expect(StoppedTogether, f"Stopped with host {teller}: no data at /x", lambda: hosts.together(fail_on(*failing)))

# Host 1 does nothing after host 0 has failed.
log.clear()
expect(UserError if me == 0 else StoppedTogether, "no data", lambda: hosts.first_then_others(fail_on(0)))
assert log == [0][: 1 - me], log

hosts.require_same({"config": {"a": 1, "b": {"c": ["x"]}}})
differing = {"config": {"a": 1, "b": {"c": me}} | ({"d": 5} if me else {}), "--workdir": "w"}
if me == 0:
    expect(HostsDiffer, "  config.b.c: 0 on host 0, 1 on host 1\\n  config.d: missing on host 0, 5 on host 1",
           lambda: hosts.require_same(differing))
else:
    expect(StoppedTogether, "which lists what differs", lambda: hosts.require_same(differing))

hosts.require_shared(Path(sys.argv[6]))
hosts._FILE_SYSTEM_SECONDS = 0
own = Path(sys.argv[6]) / str(me)  # by another name it is as if each had its own disk
own.mkdir()
put = hosts._put_sign
hosts._put_sign = lambda directory: str(own / Path(put(own)).name)
require = hosts._require_sign
hosts._require_sign = lambda sign: require(own / sign.name)
expect(StoppedTogether if me == 0 else HostsDiffer, "host 1" if me == 0 else "Host 1 does not see",
       lambda: hosts.require_shared(own))
hosts.together(lambda: None)  # host 0 has taken its sign away
assert not list(Path(sys.argv[6]).glob("*/.seen*")) and not list(Path(sys.argv[6]).glob(".seen*"))

logging.info("progress")
logging.warning("worth knowing")
assert console.is_quiet() == (me == 1)
print("met")
"""
_FAIL_ALONE = """
import time
import jax
distributed._FAIL_SECONDS = 0.5
if jax.process_index() == 1:
    raise UserError("this host's disk is gone")
from vigor_jax.parallel import hosts
hosts.together(lambda: None)  # where the other never comes
"""


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    """`(port, processes, index, timeout, then) -> process`, which joins and does something; ended with the test."""
    processes = []
    (tmp_path / "shared").mkdir()
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": str(ROOT)}

    def run(port, count, index, timeout, then=""):
        what = tmp_path / "then.py"
        what.write_text(then)
        command = [sys.executable, "-c", _JOIN, f"127.0.0.1:{port}", str(count), str(index), str(timeout), what]
        command.append(tmp_path / "shared")
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def end(process):
    out, log = process.communicate(timeout=200)
    return process.returncode, out, log


def test_hosts_go_on_together_or_stop_together(start, port):
    both = [start(port, 2, index, 120, _MEETINGS) for index in range(2)]
    (code, out, log), (code_1, out_1, log_1) = map(end, both)
    assert (code, code_1) == (0, 0), log + log_1
    assert "met" in out
    assert "met" in out_1
    assert log.splitlines() == [
        f"Waiting at 127.0.0.1:{port} for 2 processes in all.",
        "2 hosts with 4 devices, by the flags.",
        "progress",
        "warning: worth knowing",
    ]
    assert log_1.splitlines() == ["[host 1] warning: worth knowing"]


def test_who_fails_alone_ends_at_once_and_jax_ends_the_others(start, port):
    both = [start(port, 2, index, 120, _FAIL_ALONE) for index in (1, 0)]
    code, _, log = end(both[0])
    assert (code, log) == (2, "[host 1] error: this host's disk is gone\n")
    both[1].kill()  # JAX does that after a hundred seconds without a sign of life


@pytest.mark.parametrize("index", [0, 1])
def test_nobody_comes(start, port, index):
    code, _, log = end(start(port, 2, index, 1))
    why = "but not all 2 came" if index == 0 else "found nobody at"
    assert code == 2
    assert f"error: Process {index} of 2 " in log
    assert f"127.0.0.1:{port}" in log
    assert why in log
    assert " 1 s" in log
    assert "stack trace" not in log


def test_a_taken_port(start):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, log = end(start(port, 2, 0, 1))
    assert code == 2
    assert f"error: --coordinator_address=127.0.0.1:{port}: port {port} of this machine" in log


def test_an_error_over_a_lost_host_is_told_from_others(monkeypatch):
    gone = RuntimeError("UNKNOWN: Gloo AllGather failed: Connection closed by peer [10.0.0.2]:39838\nmore")
    wrapped = RuntimeError("the mined table was closed")
    wrapped.__cause__ = gone
    assert distributed.lost_another(gone) is None  # a process that is alone can lose none
    monkeypatch.setattr(distributed, "_joined", True)
    for error in (gone, wrapped):
        told = distributed.lost_another(error)
        assert told.startswith("Another host is gone, or out of reach: UNKNOWN: Gloo AllGather failed")
        assert "more" not in told
    assert distributed.lost_another(ValueError("a bug")) is None
