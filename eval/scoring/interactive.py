"""Interactive success (SSLalignment, IS3): one picture, several sounds, a map for each.

A picture with two sounds is a success only if every one of its maps is. A method that marks the
most salient object whatever it hears fails here.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from earshot.errors import DataError


def compute_group_cious(cious: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Return the smallest ciou of each group: every row of the group reaches it.

    IIoU is ``metrics.success_rate`` of the result, and IAUC its ``metrics.auc``. Give adaptive
    cious for "IIoU Adap." and "IAUC Adap.".

    Args:
        cious: ``(n,)``; a row without a map counts 0.
        groups: ``(n,)``: the picture of each row.

    Returns:
        float64 ``(number of groups,)``, in the order in which the groups first appear.

    Raises:
        DataError: the numbers of cious and groups differ, or a ciou is NaN.
    """
    cious = np.asarray(cious, np.float64)
    if len(cious) != len(groups):
        raise DataError(f"{len(cious)} cious for {len(groups)} groups, expected as many of each")
    # Whether NaN is the smallest depends on the order.
    if np.isnan(cious).any():
        raise DataError(f"{np.isnan(cious).sum()} of {len(cious)} cious are NaN, expected 0 to 1")

    smallest: dict[Hashable, float] = {}
    for ciou, group in zip(cious, groups, strict=True):
        smallest[group] = min(smallest.get(group, np.inf), ciou)
    return np.array(list(smallest.values()))


def find_picture(sample_id: str) -> str:
    """Return the picture of a row of IS3: its name without the last ``_part``.

    Raises:
        DataError: the name has no part.
    """
    picture, _, part = sample_id.rpartition("_")
    if not picture or not part:
        raise DataError(f"{sample_id!r} has no part after '_', expected a name such as dog_cat_dog")
    return picture
