"""The rate of a large matrix product: what the hardware gives, in the hands of whoever gets most out of it."""

import jax
import jax.numpy as jnp
from figures import taking_turns


def measured_peak(dtype: str, with_peer: bool) -> float:
    """Operations a second of a large matrix product: the best of several, of both libraries."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    ours = jnp.ones((side, side), dtype)
    product = jax.jit(jnp.matmul)
    programs = {"jax": lambda: jax.block_until_ready([product(ours, ours) for _ in range(4)])}
    if with_peer:
        import torch

        peers = torch.ones(side, side, dtype=getattr(torch, dtype))
        peers = peers.cuda() if jax.default_backend() == "gpu" else peers

        def by_torch() -> None:
            for _ in range(4):
                peers @ peers
            if peers.is_cuda:
                torch.cuda.synchronize()

        programs["torch"] = by_torch
    fastest = min(map(min, taking_turns(programs, 5).values()))
    return 4 * 2 * side**3 / fastest
