"""Ranks of embeddings that no single host can read."""

import os
import socket
import subprocess
import sys

import pytest

_HOST = """
import sys
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from vigor_jax.retrieval import EvaluationError, ranks

rows = NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec("data"))
rng = np.random.default_rng(0)
ground, aerial = (rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (12, 40))
references = np.stack([rng.choice(40, 4, replace=False) for _ in range(12)])
everywhere = lambda array: jax.make_array_from_callback(array.shape, rows, lambda index: array[index])

alone = ranks(ground, aerial, references)
together = ranks(everywhere(ground), everywhere(aerial), references, query_block=8, reference_block=3)
for field in ("positive", "unrelated_above_positive", "unrelated_above_best"):
    np.testing.assert_array_equal(getattr(together, field), getattr(alone, field), err_msg=field)
aerial[33] = np.nan
try:
    ranks(everywhere(ground), everywhere(aerial), references)
except EvaluationError as error:
    assert "first rows: 33." in str(error), error
    print("both hosts agree")
"""


@pytest.fixture
def address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_two_hosts_with_two_devices_each(address):
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", _HOST, address, str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [host.communicate(timeout=120)[0] for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    for host, output in zip(hosts, outputs, strict=True):
        assert host.returncode == 0, output
        assert "both hosts agree" in output
