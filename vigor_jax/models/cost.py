"""What a network costs: parameters, multiply-adds and activation memory, layer by layer, without running it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.extend.core import ClosedJaxpr, Jaxpr

from vigor_jax.models.pretrained.conversion import variable_shapes

Path = tuple[str, ...]


@dataclasses.dataclass
class LayerCost:
    """One layer: a module with parameters of its own, or products of activations in a module.

    Attributes:
      name: path of the module, "block_1/conv"; "" is the network itself.
      kind: "convolution 3x3", "fully connected", ...; see `cost`.
      output: shape, without the leading axis, of what it gave last; () where nothing is counted.
      parameters: trained numbers; running statistics are not among them.
      multiply_adds: of one image, a multiplication and an addition counted as one.
      activation_bytes: of one image's outputs.
    """

    name: str
    kind: str = ""
    output: tuple[int, ...] = ()
    parameters: int = 0
    multiply_adds: int = 0
    activation_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Cost:
    """The layers in the order of computation."""

    layers: tuple[LayerCost, ...]

    @property
    def total(self) -> LayerCost:
        """The sums over all layers, under the name "total"."""
        return _sum("total", self.layers)

    def by_kind(self) -> tuple[LayerCost, ...]:
        """The sums over the layers of each kind, under the kind's name, the most multiply-adds first."""
        kinds = dict.fromkeys(layer.kind for layer in self.layers)
        sums = [_sum(kind, [layer for layer in self.layers if layer.kind == kind]) for kind in kinds]
        return tuple(sorted(sums, key=lambda one: (-one.multiply_adds, -one.parameters)))


def cost(module: nn.Module, height: int, width: int) -> Cost:
    """Counts a network that takes images, from the program that JAX traces of it; nothing is computed.

    Multiply-adds are those of convolutions and matrix products, attention's among them, with every position of a
    padded window counted, as papers count them. Activation memory is that of the outputs of convolutions, matrix
    products and all other layers with parameters (normalisations), each counted once, in the type that they are
    computed in. It is a figure to compare networks by: what a device holds is the compiler's affair.

    Kinds are "convolution HxW", "depthwise HxW", "grouped HxW", "fully connected" (at every position, in a
    transformer), "other products" (of activations with each other, as in attention), "batch normalisation",
    "normalisation" and "other parameters" (of modules with modules inside, such as position embeddings).

    Args:
      module: images [1, H, W, 3] -> anything.
      height: of the images, pixels.
      width: of the images, pixels.

    Raises:
      ValueError: a matrix product lies in a loop of unknown length.
    """
    image_shape = (1, height, width, 3)
    # Which names the layers in the program, whatever the environment says.
    with nn.override_named_call(True):
        variables = variable_shapes(module, image_shape)
        images = jax.ShapeDtypeStruct(image_shape, jnp.float32)
        program = jax.make_jaxpr(lambda variables, images: module.apply(variables, images))(variables, images)
    parameters: dict[Path, dict[str, Any]] = {}
    for (*path, leaf), shape in traverse_util.flatten_dict(variables.get("params", {})).items():
        parameters.setdefault(tuple(path), {})[leaf] = shape
    statistics = {path[:-1] for path in traverse_util.flatten_dict(variables.get("batch_stats", {}))}
    return Cost(tuple(_layers(program.jaxpr, parameters, statistics)))


def _layers(program: Jaxpr, parameters: Mapping[Path, Mapping[str, Any]], statistics: set[Path]) -> list[LayerCost]:
    modules = {path[:i] for path in parameters for i in range(len(path) + 1)}
    containers = {path[:-1] for path in modules if path}
    layers: dict[tuple[Path, bool], LayerCost] = {}  # by module, and whether its parameters are what is multiplied
    pending: tuple[LayerCost, Any, int] | None = None  # the last equation so far of a layer without products

    def layer_at(path: Path, own: bool) -> LayerCost:
        return layers.setdefault((path, own), LayerCost("/".join(path)))

    for scope, equation, times in _equations(program):
        path = _module(scope, modules)
        if pending and pending[0].name != "/".join(path):
            _add_output(*pending)
            pending = None
        own = path in parameters and path not in containers
        multiply_adds = _multiply_adds(equation)
        if multiply_adds is not None:
            own &= "kernel" in parameters.get(path, {})
            layer = layer_at(path, own)
            layer.kind = _kind_of_product(equation) if own else "other products"
            layer.multiply_adds += multiply_adds * times
            _add_output(layer, equation, times)
            pending = None
        elif own and not layer_at(path, True).multiply_adds:
            pending = (layer_at(path, True), equation, times)
        elif path in parameters:
            layer_at(path, True)  # its parameters' place in the order
    if pending:
        _add_output(*pending)
    for path, arrays in parameters.items():
        layer = layer_at(path, True)
        layer.parameters = sum(math.prod(array.shape) for array in arrays.values())
        layer.kind = layer.kind or _kind_of_parameters(arrays, path in statistics)
    return list(layers.values())


def _equations(program: Jaxpr, outer: Path = (), times: int = 1) -> Iterator[tuple[Path, Any, int]]:
    """Every equation that has no program inside, with the names around it and how often it is computed."""
    for equation in program.eqns:
        scope = (*outer, *filter(None, str(equation.source_info.name_stack).split("/")))
        inner = [one for value in equation.params.values() for one in _programs(value)]
        kind = equation.primitive.name
        if not inner:
            yield scope, equation, times
        elif kind == "scan":
            yield from _equations(inner[0], scope, times * equation.params["length"])
        elif kind == "cond":
            # Of equals the last, the form for accelerators, whose kind of layer is the one that papers name.
            yield from _equations(max(reversed(inner), key=_total), scope, times)
        elif kind == "while" and any(_total(one) for one in inner):
            raise ValueError("a matrix product lies in a while loop; how often it is computed cannot be told")
        else:
            for one in inner:
                yield from _equations(one, scope, times)


def _programs(value: Any) -> Iterator[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _programs(one)


def _total(program: Jaxpr) -> int:
    return sum((_multiply_adds(equation) or 0) * times for _, equation, times in _equations(program))


def _module(scope: Sequence[str], modules: set[Path]) -> Path:
    """The module that named scopes lie in: the network's own name, functions and repeats lead nowhere."""
    path: Path = ()
    for part in scope:
        name, _, method = part.partition(".")
        if method and path and path[-1] == name:
            continue  # a module's other method, called by itself
        if (*path, name) in modules:
            path = (*path, name)
    return path


def _multiply_adds(equation: Any) -> int | None:
    """Of a convolution or matrix product; None of anything else."""
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        lhs = equation.invars[0].aval.shape
        return math.prod(equation.outvars[0].aval.shape) * math.prod(lhs[i] for i in contracted)
    if equation.primitive.name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
    return None


def _kind_of_product(equation: Any) -> str:
    if equation.primitive.name == "dot_general":
        return "fully connected"
    kernel, numbers = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec
    size = "x".join(str(kernel[axis]) for axis in numbers[2:])
    groups = equation.params["feature_group_count"]
    if groups == 1:
        return f"convolution {size}"
    return f"depthwise {size}" if kernel[numbers[1]] == 1 else f"grouped {size}"


def _kind_of_parameters(arrays: Mapping[str, Any], with_statistics: bool) -> str:
    if with_statistics:
        return "batch normalisation"
    return "normalisation" if "scale" in arrays and set(arrays) <= {"scale", "bias"} else "other parameters"


def _add_output(layer: LayerCost, equation: Any, times: int) -> None:
    output = equation.outvars[0].aval
    layer.output = tuple(output.shape[1:])
    layer.activation_bytes += output.size * output.dtype.itemsize * times


def _sum(name: str, layers: Sequence[LayerCost]) -> LayerCost:
    return LayerCost(
        name,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )
