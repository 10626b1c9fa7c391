"""Ranks of embeddings that no single host can read."""

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


def test_two_hosts_with_two_devices_each(two_hosts):
    for output in two_hosts(_HOST, 2):
        assert "both hosts agree" in output
