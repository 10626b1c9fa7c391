"""Search of embeddings that no single host can read."""

_HOST = """
import sys
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from vigor_jax import geometry
from vigor_jax.retrieval import top_k
from vigor_jax.retrieval.assisted_navigation import assisted_ranks

sharding = NamedSharding(jax.make_mesh((4,), ("data",)), PartitionSpec("data"))
rng = np.random.default_rng(0)
ground, aerial = (rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (12, 40))
everywhere = lambda array: jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

alone = top_k(ground, aerial, 7)
together = top_k(everywhere(ground), everywhere(aerial), 7, query_block=8, reference_block=3)
for a, b in zip(alone, together):
    np.testing.assert_array_equal(a, b)

tiles = geometry.locate(40.0, -74.0, rng.uniform(0, 400, (40, 2)), metres_per_px=1.0)
references = rng.integers(0, 40, (12, 4))
queries = [x[references[:, 0]] for x in tiles]
alone = assisted_ranks(ground, aerial, references, *queries, *tiles, seed=0)
together = assisted_ranks(everywhere(ground), everywhere(aerial), references, *queries, *tiles, seed=0, query_block=8)
for field in ("positive", "window", "top1"):
    np.testing.assert_array_equal(getattr(together, field), getattr(alone, field), err_msg=field)
print("both hosts agree")
"""


def test_two_hosts_with_two_devices_each(two_hosts):
    for output in two_hosts(_HOST, 2):
        assert "both hosts agree" in output
