"""Images that lie in the page itself."""

import base64

from vigor_jax.datasets import image_codec

_LARGE_BYTES = 24_000  # stored images above this are stored again, smaller
_LONGEST_SIDE = 640  # pixels: a panorama of VIGOR's prepared size
_QUALITY = 80


def data_uri(encoded: bytes, name: str) -> str:
    """An image file as a `data:` address: as it is if it is a small JPEG, otherwise encoded anew.

    Args:
      encoded: a JPEG or PNG file.
      name: of the image, for the error.

    Raises:
      ImageError: the file is damaged.
    """
    if not encoded.startswith(b"\xff\xd8\xff") or len(encoded) > _LARGE_BYTES:
        image = image_codec.decode(encoded, name)
        shrink = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
        size = (round(image.shape[0] * shrink), round(image.shape[1] * shrink))
        encoded = image_codec.encode_jpeg(image_codec.resize(image, size), _QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
