"""Compiled programs, kept from one start to the next."""

import os
from pathlib import Path

import jax


def keep() -> None:
    """Has JAX keep its compiled programs in the user's cache folder.

    Per user, for whoever can write there can run code here.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vigor_jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
