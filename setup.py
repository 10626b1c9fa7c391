"""What setup.cfg cannot say: the recipes of configs/ are installed within the package, as vigor_jax/recipes."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["vigor_jax", "vigor_jax.*"]), "vigor_jax.recipes"],
    package_dir={"vigor_jax.recipes": "configs"},
)
