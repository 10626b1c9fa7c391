"""Logits come from the head's features, in float32, with dropout in training only."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vigor_jax.models.classifier import Classifier, classifier


class _Rows(nn.Module):
    """Two maps, the last one of channels that differ."""

    @nn.compact
    def __call__(self, images, *, train: bool = False):
        return images, jnp.concatenate([images, 2 * images], -1).astype(jnp.bfloat16)


class _Tokens(nn.Module):
    """A backbone with a class token."""

    @nn.compact
    def tokens(self, images, *, train: bool = False):
        return 7 * jnp.ones((images.shape[0], 4)), images

    def __call__(self, images, *, train: bool = False):
        return (self.tokens(images, train=train)[1],)


class _Mean(nn.Module):
    @nn.compact
    def __call__(self, features, *, train: bool = False):
        return features.mean((1, 2))


class _ClassToken(nn.Module):
    @nn.compact
    def __call__(self, features, *, train: bool = False):
        return features[0]


_RNG = np.random.default_rng(0)
_IMAGES = _RNG.normal(size=(2, 4, 6, 3)).astype(np.float32)


def _logits(features: int) -> dict:
    kernel, bias = _RNG.normal(size=(features, 5)), _RNG.normal(size=5)
    return {"params": {"logits": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}}}


def test_logits_of_the_last_map():
    model = Classifier(_Rows(), _Mean(), classes=5)
    variables = _logits(6)
    logits = jax.jit(model.apply)(variables, _IMAGES)
    assert logits.dtype == jnp.float32
    features = np.concatenate([_IMAGES, 2 * _IMAGES], -1).astype(jnp.bfloat16).mean((1, 2)).astype(np.float32)
    params = variables["params"]["logits"]
    np.testing.assert_allclose(logits, features @ params["kernel"] + params["bias"], rtol=1e-2, atol=1e-2)


def test_class_tokens_go_to_the_head():
    model = Classifier(_Tokens(), _ClassToken(), classes=5)
    variables = _logits(4)
    params = variables["params"]["logits"]
    logits = jax.jit(model.apply)(variables, _IMAGES)
    np.testing.assert_allclose(logits[0], 7 * params["kernel"].sum(0) + params["bias"], rtol=1e-5)


def test_dropout_only_in_training():
    model = Classifier(_Rows(), _Mean(), classes=5, dropout=0.5)
    variables, rngs = _logits(6), {"dropout": jax.random.key(1)}
    without = Classifier(_Rows(), _Mean(), classes=5)
    apply = jax.jit(lambda: (model.apply(variables, _IMAGES), without.apply(variables, _IMAGES, train=True)))
    np.testing.assert_array_equal(*apply())
    trained = jax.jit(lambda: model.apply(variables, _IMAGES, train=True, rngs=rngs))()
    assert not np.allclose(trained, apply()[0])


def test_registered_classifier_has_its_papers_dropout_unless_told():
    assert classifier("mobilenet_0.25", 7).dropout == 0.001
    assert classifier("mobilenet_0.25", 7, dropout=0.2).dropout == 0.2
    model = classifier("mobilenet_0.25", 7, dtype=jnp.bfloat16)
    logits, variables = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), jnp.zeros((3, 64, 96, 3), jnp.float32))
    )
    assert (logits.shape, logits.dtype) == ((3, 7), jnp.float32)
    assert set(variables["params"]) == {"backbone", "logits"}
    assert set(variables["batch_stats"]) == {"backbone"}
