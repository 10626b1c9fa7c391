"""Values of the group of labelled images that cannot work."""

from collections.abc import Callable

from vigor_jax.config.schema import ImageDataConfig


def check_images(images: ImageDataConfig, require: Callable[[bool, str, str], None]) -> None:
    """Refuses values of the group of labelled images that cannot work."""
    side = images.stored_side
    require(side == 0 or 8 <= side <= 8192, "images.stored_side", "8 to 8192 pixels, or 0 for images as they are")
    require(0 <= images.validation_fraction < 0.5, "images.validation_fraction", "a share of at least 0 and below 0.5")
    require(1 <= images.crop <= 8192, "images.crop", "1 to 8192 pixels")
    least, most = images.scales
    require(
        images.crop <= least <= most <= 8192,
        "images.scales",
        f"(least, most) of at least config.images.crop = {images.crop} pixels, as the crop is taken from the scaled "
        "image, and at most 8192",
    )
    require(images.colour_shift >= 0, "images.colour_shift", "a standard deviation, or 0 for none")
