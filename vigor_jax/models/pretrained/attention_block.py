"""The block that Swin and ViT share, under the names of other libraries."""

import dataclasses

from vigor_jax.models.pretrained.conversion import LINEAR, SAME, Link, Table, layer_norm, linear, link, split


@dataclasses.dataclass(frozen=True)
class BlockNames:
    """What a library calls the parts of a block, after the block's own name.

    Attributes:
      norms: the two layer norms.
      qkv: "{}" stands for "weight" and "bias"; one name where query, key and value are one layer, else three.
      projection: behind the attention.
      perceptron: first and last layer.
      scales: the two layer scales, if blocks have them.
    """

    norms: tuple[str, str]
    qkv: tuple[str, ...]
    projection: str
    perceptron: tuple[str, str]
    scales: tuple[str, str] | None = None


# timm's blocks, which many others have taken over.
TIMM = BlockNames(("norm1", "norm2"), ("attn.qkv.{}",), "attn.proj", ("mlp.fc1", "mlp.fc2"), ("ls1.gamma", "ls2.gamma"))
TORCHVISION_MLP = ("mlp.0", "mlp.3")


def block_table(
    names: BlockNames, theirs: str, ours: str, *, attention: str, layer_scale: bool = False, gated: bool = False
) -> Table:
    """The links of one block.

    Args:
      names: of the library.
      theirs: before each of them.
      ours: the module path of the block.
      attention: the path of its `SelfAttention` below it.
      layer_scale: whether the block has layer scales.
      gated: whether its perceptron is a `SwiGLU`.
    """
    table = [
        *layer_norm(theirs + names.norms[0], f"{ours}/norm1"),
        *_joined(tuple(theirs + name for name in names.qkv), f"{ours}/{attention}/qkv"),
        *linear(theirs + names.projection, f"{ours}/{attention}/projection"),
        *layer_norm(theirs + names.norms[1], f"{ours}/norm2"),
    ]
    for name, layer in zip(names.perceptron, ("w12", "w3") if gated else ("fc1", "fc2"), strict=True):
        table += linear(theirs + name, f"{ours}/mlp/{layer}")
    if layer_scale:
        assert names.scales is not None
        table += [link(theirs + name, f"params/{ours}/scale{i}") for i, name in enumerate(names.scales, 1)]
    return tuple(table)


def _joined(qkv: tuple[str, ...], ours: str) -> Table:
    """Query, key and value, three layers there or one: ours is one, of three times the outputs."""
    links = []
    for theirs, part, layout, axis in (("weight", "kernel", LINEAR, 1), ("bias", "bias", SAME, 0)):
        if len(qkv) > 1:
            layout = split(layout, axis, len(qkv))
        links.append(Link(tuple(name.format(theirs) for name in qkv), (f"params/{ours}/{part}",), layout))
    return tuple(links)
