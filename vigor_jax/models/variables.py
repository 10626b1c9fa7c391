"""What Flax calls a model's variables."""

from typing import Any

Variables = dict[str, Any]
"""Collections by name: "params", and any mutable one, such as "batch_stats"."""
