"""Arrays under another framework's names and layouts to ours and back, by one table for both directions.

A family of backbones lists `Link`s: which arrays of a file are which of our variables, and how the layout changes.
`to_ours` then loads strictly: every variable from the file, every array of the file used, every shape as it should be.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util

from vigor_jax.models.pretrained.load_report import Report, UnfittingWeightsError, printable, some
from vigor_jax.models.pretrained.weight_file_error import WeightFileError

Arrays = tuple[np.ndarray, ...]
_SHOWN = 5  # paths in an error


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the arrays of a file become ours, and the inverse."""

    to_ours: Callable[[Arrays], Arrays]
    to_theirs: Callable[[Arrays], Arrays]


def each(to_ours: Callable[[np.ndarray], np.ndarray], to_theirs: Callable[[np.ndarray], np.ndarray]) -> Layout:
    """A layout of links that pair one array with one variable."""
    return Layout(lambda arrays: tuple(map(to_ours, arrays)), lambda arrays: tuple(map(to_theirs, arrays)))


SAME = each(lambda array: array, lambda array: array)
# [out, in / groups, height, width] <-> [height, width, in / groups, out]. With as many groups as channels that is
# [channels, 1, height, width] <-> [height, width, 1, channels]: depthwise filters need no layout of their own.
CONVOLUTION = each(lambda array: array.transpose(2, 3, 1, 0), lambda array: array.transpose(3, 2, 0, 1))
LINEAR = each(lambda array: array.T, lambda array: array.T)  # [out, in] <-> [in, out]
# A 1x1 convolution there, a dense layer here: [out, in, 1, 1] <-> [in, out].
POINTWISE_AS_LINEAR = each(lambda array: array[:, :, 0, 0].T, lambda array: array.T[:, :, None, None])
# Keras: [height, width, channels, 1] <-> [height, width, 1, channels].
KERAS_DEPTHWISE = each(lambda array: array.transpose(0, 1, 3, 2), lambda array: array.transpose(0, 1, 3, 2))


def fused(layout: Layout, axis: int, parts: int) -> Layout:
    """One array there, `parts` variables here that lie beside each other along `axis` of our layout (a fused qkv)."""
    return Layout(
        lambda arrays: tuple(np.split(layout.to_ours(arrays)[0], parts, axis)),
        lambda arrays: layout.to_theirs((np.concatenate(arrays, axis),)),
    )


def split(layout: Layout, axis: int, parts: int) -> Layout:
    """`parts` arrays there, one variable here that has them beside each other along `axis` of our layout."""
    return Layout(
        lambda arrays: (np.concatenate(layout.to_ours(arrays), axis),),
        lambda arrays: layout.to_theirs(tuple(np.split(arrays[0], parts, axis))),
    )


@dataclasses.dataclass(frozen=True)
class Link:
    """Arrays of a file and the variables that they are.

    Attributes:
      theirs: names in the file, "encoder.layer.0.bias".
      ours: paths in the variables, "params/block_1/bias".
      layout: between the two.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    layout: Layout = SAME


Table = tuple[Link, ...]


def link(theirs: str, ours: str, layout: Layout = SAME) -> Link:
    """One array and one variable."""
    return Link((theirs,), (ours,), layout)


def convolution(theirs: str, ours: str, *, bias: bool, layout: Layout = CONVOLUTION) -> Table:
    """The links of a torch convolution, depthwise or not, to the `nn.Conv` at the module path `ours`."""
    kernel = link(f"{theirs}.weight", f"params/{ours}/kernel", layout)
    return (kernel, link(f"{theirs}.bias", f"params/{ours}/bias")) if bias else (kernel,)


def linear(theirs: str, ours: str, *, bias: bool = True) -> Table:
    """The links of a torch linear layer to an `nn.Dense`."""
    return convolution(theirs, ours, bias=bias, layout=LINEAR)


def layer_norm(theirs: str, ours: str) -> Table:
    """The links of a torch layer normalisation to an `nn.LayerNorm`."""
    return (
        link(f"{theirs}.weight", f"params/{ours}/scale"),
        link(f"{theirs}.bias", f"params/{ours}/bias"),
    )


def batch_norm(theirs: str, ours: str) -> Table:
    """The four links of a torch batch normalisation to an `nn.BatchNorm`."""
    return (
        *layer_norm(theirs, ours),
        link(f"{theirs}.running_mean", f"batch_stats/{ours}/mean"),
        link(f"{theirs}.running_var", f"batch_stats/{ours}/var"),
    )


def within(table: Iterable[Link], theirs: str = "", ours: str = "") -> Table:
    """The table of a part as part of a whole: `theirs` before its names ("swin."), `ours` above its modules."""
    return tuple(
        Link(
            tuple(theirs + name for name in one.theirs),
            tuple(path.replace("/", f"/{ours}/", 1) if ours else path for path in one.ours),
            one.layout,
        )
        for one in table
    )


def without_prefix(state: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The state with `prefix` taken off the names that begin with it: a backbone inside a classifier's file."""
    return {name.removeprefix(prefix): array for name, array in state.items()}


def variable_shapes(module: nn.Module, image_shape: Sequence[int], **arguments: Any) -> dict[str, Any]:
    """The tree of a module's variables as shapes, without computing any; `image_shape` is [B, H, W, 3]."""
    images = jax.ShapeDtypeStruct(tuple(image_shape), jnp.float32)
    return jax.eval_shape(lambda key, images: module.init(key, images, **arguments), jax.random.key(0), images)


def to_ours(
    state: Mapping[str, np.ndarray],
    table: Table,
    shapes: Mapping[str, Any],
    *,
    source: str = "the state",
    ignored: Sequence[str] = (),
    allow_partial: bool = False,
) -> tuple[dict[str, Any], Report]:
    """Variables from the arrays of a file.

    Args:
      state: the file's arrays by name, of any float type.
      table: of the family.
      shapes: the tree of `variable_shapes`; every leaf of it is in the table.
      source: what errors call the file.
      ignored: regular expressions, each of whole names, of arrays that carry nothing to load.
      allow_partial: load what fits, and leave out of the variables what is missing or of another shape
        (`filled` puts a random start there).

    Returns:
      The tree of variables, float32, and what became of every name.

    Raises:
      UnfittingWeightsError: something is missing, unexpected or of another shape and `allow_partial` is not set; or
        nothing fits at all.
      WeightFileError: a loaded array is not finite.
      ValueError: the table and the module do not belong together.
    """
    expected = _shapes_in_file(table, shapes)
    loaded, missing, mismatched = [], [], []
    flat: dict[str, np.ndarray] = {}
    for one in table:
        absent = [name for name in one.theirs if name not in state]
        wrong = [
            f"{name} is {list(np.shape(state[name]))}, expected {list(expected[name])}"
            for name in one.theirs
            if name in state and np.shape(state[name]) != expected[name]
        ]
        missing.extend(absent)
        mismatched.extend(wrong)
        if absent or wrong:
            continue
        arrays = one.layout.to_ours(tuple(_finite(np.asarray(state[name]), name, source) for name in one.theirs))
        flat.update(zip(one.ours, map(_own, arrays), strict=True))
        loaded.extend(one.theirs)
    rest = [name for name in state if name not in expected]
    unneeded = [name for name in rest if any(re.fullmatch(pattern, name) for pattern in ignored)]
    unexpected = [name for name in rest if name not in set(unneeded)]
    report = Report(*map(tuple, (loaded, missing, unexpected, mismatched, unneeded)))
    _refuse(report, source, allow_partial)
    return traverse_util.unflatten_dict(flat, sep="/"), report


def to_theirs(variables: Mapping[str, Any], table: Table) -> dict[str, np.ndarray]:
    """The arrays of a file from variables, float32: the inverse of `to_ours`.

    Raises:
      ValueError: the table and the variables do not belong together.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    _check_covered(table, flat)
    state: dict[str, np.ndarray] = {}
    for one in table:
        arrays = one.layout.to_theirs(tuple(np.asarray(flat[path], np.float32) for path in one.ours))
        state.update(zip(one.theirs, map(_own, arrays), strict=True))
    return state


def filled(loaded: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """`fresh` variables with those replaced that were loaded: the end of a partial load."""
    leaves = traverse_util.flatten_dict(fresh, sep="/") | traverse_util.flatten_dict(loaded, sep="/")
    return traverse_util.unflatten_dict(leaves, sep="/")


def _shapes_in_file(table: Table, shapes: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """By name of the file, the shape that our variables have in its layout."""
    flat = traverse_util.flatten_dict(shapes, sep="/")
    _check_covered(table, flat)
    expected: dict[str, tuple[int, ...]] = {}
    for one in table:
        # Of no memory: the layouts move axes, and need numbers only to move them.
        empty = tuple(np.broadcast_to(np.float32(0), flat[path].shape) for path in one.ours)
        for name, array in zip(one.theirs, one.layout.to_theirs(empty), strict=True):
            if name in expected:
                raise ValueError(f"the table links {name} twice")
            expected[name] = array.shape
    return expected


def _check_covered(table: Table, flat: Mapping[str, Any]) -> None:
    linked = {path for one in table for path in one.ours}
    if linked != set(flat):
        without = sorted(set(flat) - linked)[:_SHOWN]
        nowhere = sorted(linked - set(flat))[:_SHOWN]
        raise ValueError(f"the table does not fit the module: no link for {without}, no variable for {nowhere}")


def _finite(array: np.ndarray, name: str, source: str) -> np.ndarray:
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise WeightFileError(f"{source}: {printable(name)} holds numbers that are not finite. The file is damaged.")
    return array


def _own(array: np.ndarray) -> np.ndarray:
    """In memory of its own, in row-major order; a view would keep all of a fused array."""
    return np.array(array, np.float32, order="C")


def _refuse(report: Report, source: str, allow_partial: bool) -> None:
    troubles = report.troubles()
    if not report.loaded:
        raise UnfittingWeightsError(
            f"{source} holds nothing of this model: {troubles}. Is it of another model or layout?", report
        )
    if troubles and not allow_partial:
        raise UnfittingWeightsError(
            f"{source} does not fit: {troubles}. Nothing was loaded. Give the model the file's own shape, or, where "
            "shapes may differ (say, in the number of classes), load with allow_partial: the rest stays random.",
            report,
        )
    if troubles:
        logging.warning("%s: %s arrays loaded; not loaded: %s.", source, f"{len(report.loaded):,}", troubles)
    else:
        unused = f"; not needed: {some(report.ignored)}" if report.ignored else ""
        logging.info("%s: all %s arrays loaded%s.", source, f"{len(report.loaded):,}", unused)
