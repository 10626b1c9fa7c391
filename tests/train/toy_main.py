"""`main.py` for the toy task, as a process of its own; also its config file.

The environment variable TOY holds the toy's settings as JSON, and in SIGNS a folder where it shows how far it is.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

import ml_collections


def load_toy():
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("conftest.py"))
    toy = sys.modules["toy"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    return toy


def get_config(variant=""):
    tree = (sys.modules.get("toy") or load_toy()).toy_tree(epochs=3, log_every_steps=1, checkpoint_every_steps=7)
    return ml_collections.ConfigDict(tree)


def signalling(toy):
    """The toy, leaving a file with the name of what it begins; jobs of one host do so together."""

    def show(sign):
        if os.environ.get("SIGNS"):
            Path(os.environ["SIGNS"], sign).touch()

    class Signalling(toy.ToyTask):
        def loss(self, *arguments, **named):
            show("compiling")
            return super().loss(*arguments, **named)

        def evaluate(self, *arguments):
            show("evaluating")
            return super().evaluate(*arguments)

    return Signalling


if __name__ == "__main__":
    toy = load_toy()
    task = signalling(toy)
    import main
    from vigor_jax import compilation_cache, tasks

    compilation_cache.keep = lambda: None  # the tests' own cache is in the environment
    tasks.REGISTRY["toy"] = toy.toy_entry(lambda config: task(seed=config.seed, **json.loads(os.environ["TOY"])))
    sys.exit(main.main(sys.argv))
