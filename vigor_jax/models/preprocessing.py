"""The pixel statistics that weights expect, applied to uint8 images on the device."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """`(pixels - mean) / std` per channel, after an optional reversal of RGB to BGR; mean and std in 0..255."""

    bgr: bool
    mean: tuple[float, float, float]  # in the channel order of the output
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


PREPROCESSINGS = {
    # VIGOR's data loader: Caffe's ImageNet means with red rounded to 123.6.
    "vigor": Preprocessing(bgr=True, mean=(103.939, 116.779, 123.6)),
    # keras.applications' "caffe" mode, for which the Oxford weights were converted.
    "keras": Preprocessing(bgr=True, mean=(103.939, 116.779, 123.68)),
    # VGG's paper, section 2.1: "The only preprocessing we do is subtracting the mean RGB value". For networks that are
    # trained here; the numbers of "keras", in RGB.
    "imagenet_mean": Preprocessing(bgr=False, mean=(123.68, 116.779, 103.939)),
    "torchvision": Preprocessing(
        bgr=False,
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # keras.applications' "tf" mode, x / 127.5 - 1: the weights that began in TensorFlow's slim, MobileNet's and ViT's.
    "tf": Preprocessing(bgr=False, mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
}


def preprocess(
    images: UInt8[Array | np.ndarray, "batch height width 3"],
    name: str,
    colour_shift: Float[Array | np.ndarray, "batch 3"] | None = None,
) -> Float[Array, "batch height width 3"]:
    """RGB images as the named weights expect them: [B, H, W, 3] uint8 -> float32.

    Args:
      images: RGB.
      name: of the statistics.
      colour_shift: RGB values, of 0 to 255, that are added to every pixel of an image first.

    Raises:
      ValueError: `name` is not one of PREPROCESSINGS.
    """
    if name not in PREPROCESSINGS:
        raise ValueError(f"preprocessing {name!r}. Allowed: {', '.join(sorted(PREPROCESSINGS))}.")
    statistics = PREPROCESSINGS[name]
    pixels = jnp.asarray(images, jnp.float32)
    if colour_shift is not None:
        pixels = pixels + colour_shift[:, None, None]
    pixels = pixels[..., ::-1] if statistics.bgr else pixels
    return (pixels - jnp.asarray(statistics.mean)) / jnp.asarray(statistics.std)
