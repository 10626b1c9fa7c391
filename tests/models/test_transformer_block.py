"""The block of transformers in training; its outputs are tested with those of Swin and ViT."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.models.transformer_block import Block, SelfAttention


class _Constant(nn.Module):
    value: float

    @nn.compact
    def __call__(self, features):
        return jnp.full_like(features, self.value)


def test_training_leaves_parts_out_by_the_example():
    block = Block(functools.partial(_Constant, 1.0), functools.partial(_Constant, 10.0), 1e-6, drop_rate=0.5)
    features = jnp.zeros((64, 3, 4))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), features, False))
    variables = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    evaluated, trained = jax.jit(
        lambda: (
            block.apply(variables, features, False),
            block.apply(variables, features, True, rngs={"dropout": jax.random.key(0)}),
        )
    )()
    np.testing.assert_array_equal(evaluated, 11)
    # What is kept counts twice at a rate of a half: none, one of the two or both, the same for a whole example.
    np.testing.assert_array_equal(trained, np.broadcast_to(trained[:, :1, :1], trained.shape))
    kinds, counts = np.unique(trained[:, 0, 0], return_counts=True)
    assert kinds.tolist() == [0, 2, 20, 22]
    assert counts.min() > 6  # of 64; 16 are expected


def test_bfloat16_has_its_softmax_in_float32():
    tokens = jnp.zeros((2, 3, 8), jnp.bfloat16)
    run = functools.partial(SelfAttention(heads=2, dtype=jnp.bfloat16).init_with_output, jax.random.key(0))
    exponentials = [line for line in str(jax.make_jaxpr(run)(tokens)).splitlines() if "= exp " in line]
    assert len(exponentials) == 1
    assert "f32[" in exponentials[0].split("=")[0]
    assert jax.eval_shape(run, tokens)[0].dtype == jnp.bfloat16
