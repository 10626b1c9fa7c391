"""Compiled programs, kept from one start to the next."""

import os
from pathlib import Path

import jax


def keep() -> None:
    """Has JAX keep its compiled programs in the user's cache folder.

    Per user, for whoever can write there can run code here. On GPUs what autotuning measured is kept there too, without
    being asked for (`jax_persistent_cache_enable_xla_caches`).
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigor_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    # JAX leaves out what took less than a second; but of an evaluation, a hundred small programs are most of a later
    # start's compiling (docs/performance.md).
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
