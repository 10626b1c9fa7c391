"""What can be wrong with coordinates, a partition or its file."""

from vigor_jax.errors import UserError


class GeocellError(UserError):
    """Photos that lie nowhere, a partition without cells, a damaged file; the message says which and what to do."""
