"""Any value for any key gives a ConfigError that names the key, or a Config that holds the value."""

import copy
import json

import ml_collections
from hypothesis import given
from hypothesis import strategies as st

from vigor_jax import config as configs
from vigor_jax import tasks
from vigor_jax.config import Config, ConfigError

VALID = {
    "name": "test",
    "task": "cross_view",
    "epochs": 1,
    "data": {"name": "rendered_city", "train_cities": ("A",), "test_cities": ("B",), "protocols": ("cross_area",)},
    "model": {"aggregation": "safa"},
    "batch": {"size": 4},
}
IMAGES = {
    "name": "test",
    "task": "classification",
    "epochs": 1,
    "images": {"name": "grocery"},
    "classifier": {"backbone": "vgg11"},
    "batch": {"size": 4},
}
# Those that not every task reads.
OF_CROSS_VIEW, OF_IMAGES, OF_OTHERS = ("data", "model"), ("images", "classifier"), ("geocells", "distillation")


def keys(schema: type, prefix: str = "") -> list[str]:
    """The dotted keys of all values."""
    found = []
    for name, hint in configs.keys_of(schema).items():
        found += keys(hint, f"{prefix}{name}.") if configs.is_group(hint) else [f"{prefix}{name}"]
    return found


words = ["A", "B", "C", "safa", "none", "regression", "float32", "same_area", "cross_area", "label_file", "vgg16"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2, 31, 32, 33, 320, 10**10, 10**40])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(words)
)
lists = st.recursive(
    scalars | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.sets(scalars, max_size=2),
    max_leaves=5,
)
values = lists | st.dictionaries(st.text(max_size=5), scalars, max_size=2)
names = st.text(max_size=8) | st.sampled_from(sorted(VALID))
groups = st.sampled_from([*OF_CROSS_VIEW, *OF_IMAGES, *OF_OTHERS])


ALL_KEYS = sorted({key for entry in tasks.REGISTRY.values() for key in keys(entry.config)})
keys_of_cross_view = st.sampled_from(keys(tasks.REGISTRY["cross_view"].config))
keys_of_images = st.sampled_from(keys(tasks.REGISTRY["classification"].config))
trees = st.recursive(scalars, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=8)


@given(st.dictionaries(groups, values, min_size=1), st.sampled_from([VALID, IMAGES]))
def test_any_value_in_the_place_of_a_group(changes, valid):
    parsed, error = error_of(copy.deepcopy(valid) | changes)
    assert parsed is None
    assert error.startswith("config.")


def put(tree: dict, path: str, value: object) -> None:
    *groups, key = path.split(".")
    for group in groups:
        tree = tree.setdefault(group, {})
    tree[key] = value


def error_of(tree: dict) -> tuple[Config | None, str]:
    """What parsing gives; any other error than a ConfigError escapes."""
    try:
        return tasks.parse(tree), ""
    except ConfigError as error:
        return None, str(error)


@given(
    st.tuples(st.just(VALID), st.dictionaries(keys_of_cross_view, values, min_size=1, max_size=4))
    | st.tuples(st.just(IMAGES), st.dictionaries(keys_of_images, values, min_size=1, max_size=4))
)
def test_any_value_of_any_key(drawn):
    valid, changes = drawn
    tree = copy.deepcopy(valid)
    for path, value in changes.items():
        put(tree, path, value)
    parsed, error = error_of(tree)
    if parsed is None:
        assert error.startswith("config.")
        return
    for path, value in changes.items():
        found = parsed
        for part in path.split("."):
            found = getattr(found, part)
        assert found == (tuple(value) if isinstance(value, list) else value)
        assert not isinstance(value, bool) or isinstance(found, bool)
    # What is accepted can be written to JSON and read back as itself.
    assert tasks.parse(json.loads(json.dumps(configs.to_dict(parsed)))) == parsed


@given(st.dictionaries(names, trees, max_size=4))
def test_any_tree(tree):
    parsed, error = error_of(tree)
    assert parsed is None, f"{tree} lacks what every run needs"
    assert error.startswith("config.")


near_keys = st.sampled_from(ALL_KEYS).flatmap(lambda key: st.sampled_from([key, key[:-1], key + "."]))


@given(st.text(max_size=30) | near_keys)
def test_any_dotted_key(path):
    known = any(key == path or key.startswith(f"{path}.") for key in ALL_KEYS)
    try:
        tasks.check_key(path)
    except ConfigError:
        assert not known
    else:
        assert known


def test_the_keys_are_those_of_a_config_dict():
    assert set(ALL_KEYS) >= {"epochs", "data.root", "images.root", "batch.size"}
    for valid in (VALID, IMAGES):
        assert tasks.parse(ml_collections.ConfigDict(valid)) == tasks.parse(valid)
