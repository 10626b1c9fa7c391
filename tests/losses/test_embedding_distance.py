"""The distillation loss is the mean squared distance of two sets of embeddings, and teaches the student alone."""

import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from vigor_jax.losses import embedding_distance
from vigor_jax.parallel.mesh import data_mesh, pmap


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 5)).astype(np.float32), rng.normal(size=(count, 5)).astype(np.float32)


def test_explicit_loop():
    student, teacher = _rows(7)
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        for a, b in zip(s, t, strict=True):
            total += (a - b) ** 2
    np.testing.assert_allclose(embedding_distance(student, teacher), total / 7, rtol=1e-6)
    assert embedding_distance(teacher, teacher) == 0


def test_of_unit_embeddings_it_is_two_minus_two_cosines():
    student, teacher = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in _rows(6))
    cosines = [s @ t for s, t in zip(student, teacher, strict=True)]
    np.testing.assert_allclose(embedding_distance(student, teacher), 2 - 2 * np.mean(cosines), rtol=1e-6)


def test_the_gradient_is_the_student_s_alone():
    student, teacher = _rows(4)
    to_student, to_teacher = jax.grad(embedding_distance, argnums=(0, 1))(student, teacher)
    np.testing.assert_allclose(to_student, 2 * (student - teacher) / 4, rtol=1e-6)
    np.testing.assert_array_equal(to_teacher, 0)


def test_devices_together_give_the_value_and_gradient_of_one():
    features, teacher = _rows(12)
    kernel = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)

    def loss(kernel, features, teacher, axis_name=None):
        return embedding_distance(features @ kernel, teacher, axis_name=axis_name)

    value, gradient = jax.value_and_grad(loss)(kernel, features, teacher)
    mapped = pmap(
        lambda kernel, *rows: jax.value_and_grad(lambda k: loss(k, *rows, axis_name="data"))(kernel),
        data_mesh(jax.devices()[:4]),
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),  # checked: equal on every device
    )
    mapped_value, mapped_gradient = mapped(kernel, features, teacher)
    np.testing.assert_allclose(mapped_value, value, rtol=1e-6)
    np.testing.assert_allclose(mapped_gradient, gradient, rtol=1e-5)
