"""Which parameters are depthwise filters, so that weight decay can leave them out."""

from collections.abc import Sequence


def is_depthwise_filter(path: Sequence[str]) -> bool:
    """Whether a parameter is the filter of a depthwise convolution.

    MobileNet's authors put little or no weight decay on these: there are few parameters in them (section 3.2).

    Args:
      path: names from the root of the parameters to the array, ("backbone", "block_1_depthwise", "kernel"). In every
        backbone here, depthwise convolutions and no other layers have "depthwise" or "dwconv" as a word of their name.
    """
    return len(path) > 1 and path[-1] == "kernel" and not {"depthwise", "dwconv"}.isdisjoint(path[-2].split("_"))
