"""The block that transformers over images are made of: self-attention, then a perceptron, each beside the identity."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

INIT = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
    """Pre-norm block: x + a(norm(x)), then x + m(norm(x)); any shape [B, ..., C] that both parts take.

    Attributes:
      attention: makes the first part, given its `name`.
      mlp: makes the second.
      epsilon: of the layer norms.
      layer_scale: multiply what is added by a learnt factor a channel (Touvron et al., 2021), 1 at the start.
      drop_rate: at which training leaves out what is added, drawn for each example and part from "dropout" (stochastic
        depth, Huang et al., 2016).
      dtype: of the computation; parameters are float32.
    """

    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    epsilon: float
    layer_scale: bool = False
    drop_rate: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "batch *places channels"], train: bool) -> Float[Array, "..."]:
        """Features of the same shape."""
        # One draw for all places and channels of an example.
        drop = nn.Dropout(self.drop_rate, broadcast_dims=tuple(range(1, features.ndim)), deterministic=not train)
        for number, part in ((1, self.attention(name="attention")), (2, self.mlp(name="mlp"))):
            residual = part(nn.LayerNorm(self.epsilon, dtype=self.dtype, name=f"norm{number}")(features))
            if self.layer_scale:
                scale = self.param(f"scale{number}", nn.initializers.ones, (features.shape[-1],))
                residual = residual * scale.astype(self.dtype)
            features = features + drop(residual)
        return features


class SelfAttention(nn.Module):
    """Attention of every token to all (Vaswani et al., 2017): [B, ..., T, C] -> the same, each [T, C] on its own.

    Attributes:
      heads: that share the channels.
      dtype: of the computation; logits and softmax are float32.
    """

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        tokens: Float[Array, "batch *groups tokens channels"],
        bias: Float[Array, "*some heads tokens tokens"] | None = None,
    ) -> Float[Array, "batch *groups tokens channels"]:
        """What the tokens gather, after the output projection.

        Args:
          tokens: of any number of groups.
          bias: added to the logits: [heads, T, T] for all groups alike, or [G, heads, T, T] for one axis of groups.
        """
        channels = tokens.shape[-1]
        # One product for the three: 3C outputs in the order query, key, value, each of them head by head.
        joined = nn.Dense(3 * channels, dtype=self.dtype, kernel_init=INIT, name="qkv")(tokens)
        joined = joined.reshape(*tokens.shape[:-1], 3, self.heads, channels // self.heads)
        query, key, value = (joined[..., part, :, :] for part in range(3))
        if bias is None or bias.ndim == 3:
            shape = (-1, *query.shape[-3:])
            query, key, value = (part.reshape(shape) for part in (query, key, value))
            attend = jax.nn.dot_product_attention
        else:
            # The bias is one for all examples; over the batch it is neither repeated nor kept.
            attend = jax.vmap(jax.nn.dot_product_attention, in_axes=(0, 0, 0, None))
        gathered = attend(query, key, value, bias).reshape(tokens.shape)
        return nn.Dense(channels, dtype=self.dtype, kernel_init=INIT, name="projection")(gathered)


class MLP(nn.Module):
    """Two layers with a GELU between, on the channels of every place: [..., C] -> [..., C].

    Attributes:
      ratio: of the hidden channels to the others.
      dtype: of the computation.
    """

    ratio: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "*places channels"]) -> Float[Array, "*places channels"]:
        """The second layer's output."""
        channels = features.shape[-1]
        hidden = nn.Dense(self.ratio * channels, dtype=self.dtype, kernel_init=INIT, name="fc1")(features)
        # By the error function: the tanh approximation differs by up to 5e-4 a layer from what the weights saw.
        hidden = nn.gelu(hidden, approximate=False)
        return nn.Dense(channels, dtype=self.dtype, kernel_init=INIT, name="fc2")(hidden)


class SwiGLU(nn.Module):
    """A perceptron with a gate (Shazeer, 2020): W3 (silu(W1 x) * W2 x), as DINOv2's giant has it.

    The hidden channels are two thirds of an `MLP`'s, rounded up to a multiple of 8, so that both cost the same.

    Attributes:
      ratio: of an MLP's hidden channels to the others.
      dtype: of the computation.
    """

    ratio: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Float[Array, "*places channels"]) -> Float[Array, "*places channels"]:
        """The last layer's output."""
        channels = features.shape[-1]
        hidden = -(-(self.ratio * channels * 2 // 3) // 8) * 8
        joined = nn.Dense(2 * hidden, dtype=self.dtype, kernel_init=INIT, name="w12")(features)
        gate, content = jnp.split(joined, 2, axis=-1)
        return nn.Dense(channels, dtype=self.dtype, kernel_init=INIT, name="w3")(nn.silu(gate) * content)
