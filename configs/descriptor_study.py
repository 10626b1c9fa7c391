"""How small a descriptor may be: recall, hit rate and metres against its dimension.

    vigor-jax descriptor-study --config=configs/descriptor_study.py --workdir=runs/descriptor_study \
        --config.data.root=/path/to/VIGOR --config.model.pretrained=/path/to/vgg16-397923af.pth

trains every size of the sweep, one after the other in WORKDIR/<size>, and compresses the largest descriptor by
principal components, to int8 and by product quantisation. A size is HEADSxCHANNELS: so many heads of the
spatial-aware aggregation, each projected to so many channels by learned weights; with all of the tower's channels
there is no projection. The same command again goes on where it stopped, and collects what is complete. One size alone:

    python main.py --config=configs/descriptor_study.py:8x64 --config.data.root=/path/to/VIGOR

Variants: a size, and what is trained and tested, joined by commas:
    same_area (default)   configs/same_area.py, method hybrid: 4096 = 8x512 down to 128 = 8x16, and 4, 2, 1 heads
    cross_area            configs/cross_area.py, method hybrid
    rendered              either of them on the rendered city
    demo                  configs/demo.py: 512 = 8x64 down to 64 = 8x8, and 4, 2, 1 heads; no data needed
Data: that of the config it starts from. Install: pip install -e .[study].
Hardware: one accelerator with 16 GB for each training; the compressions run on the host, where VIGOR's descriptors of
4096 dimensions are 2.4 GB a copy: have 16 GB (not measured). With `demo` two CPU cores.
Time: not measured. Nine trainings of configs/same_area.py; with `demo` seven of configs/demo.py.
Expect: nothing is published of this. At equal bytes a compressed large descriptor is what a trained small one has to
beat.
"""

import ml_collections

from configs import cross_area, demo, same_area

SIZES = ("8x512", "8x256", "8x128", "8x64", "8x32", "8x16", "4x512", "2x512", "1x512")
DEMO_SIZES = ("8x64", "8x32", "8x16", "8x8", "4x64", "2x64", "1x64")
BASES = ("same_area", "cross_area", "rendered", "demo")


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    bases, named = _read(variant)
    if "demo" in bases:
        config = demo.get_config("hybrid")
    else:
        base = cross_area if "cross_area" in bases else same_area
        config = base.get_config("rendered" if "rendered" in bases else "")
    config.name = "-".join(["descriptor_study", *bases, *named])
    largest = _sweep(bases)[0]
    heads, channels = (named[0] if named else largest).split("x")
    config.model.num_heads = int(heads)
    config.model.channels_per_head = 0 if channels == largest.split("x")[1] else int(channels)
    # Eight descriptors of a tile would be stored instead of one.
    config.eval_symmetries = False
    return config


def sizes(variant: str = "") -> tuple[str, ...]:
    """The sweep of a variant, the largest descriptor first; the size alone if the variant names one."""
    bases, named = _read(variant)
    return named or _sweep(bases)


def _sweep(bases: tuple[str, ...]) -> tuple[str, ...]:
    return DEMO_SIZES if "demo" in bases else SIZES


def _read(variant: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(bases, at most one size)."""
    chosen = [part for part in variant.split(",") if part]
    bases = tuple(part for part in chosen if part in BASES)
    named = tuple(part for part in chosen if part not in BASES)
    for part in named:
        if part not in _sweep(bases):
            raise ValueError(
                f"there is no variant {part!r} of this config. Variants: {', '.join(BASES)}; sizes: "
                f"{', '.join(_sweep(bases))}."
            )
    if len(named) > 1 or len(set(bases) - {"rendered"}) > 1 or {"rendered", "demo"} <= set(bases):
        raise ValueError(f"{variant!r} contradicts itself: name one size at most, and one of {', '.join(BASES)}.")
    return bases, named
