"""Results of papers, as data, and whether a result of ours may be compared with one of them.

The figures are those of the papers named; they come from the tables of EZ-VSL, Hear The Flow,
FlowGrad and later papers. Two results are comparable only with the same test set and the same
protocol, if no sample is missing and no test clip leaks into the training data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eval.results.test_sets import find_test_sets


@dataclass(frozen=True)
class Published:
    """One line of a paper's table."""

    method: str
    trained_on: str
    test_set: str  # a name of ``find_test_sets()``
    protocol: str
    success_rate: float | None  # at ``success_at``
    auc: float | None
    caveat: str = ""  # what the authors did that a reader should know
    success_at: float = 0.5
    n: int | None = None  # samples, where the authors report on others than the list has


# Caveats: how the checkpoint was chosen, and test clips in the training list.
_TEST_CHOICE = "checkpoint chosen on the test set"
_LEAK_144K = (
    "its training list holds 3,709 of the 5,158 test clips; checkpoint chosen on the test set"
)
_LEAK_10K = "its training list holds 238 of the 5,158 test clips; checkpoint chosen on the test set"
_LEAK_FLICKR = "its training list holds 20 of the 249 test ids; checkpoint chosen on the test set"

PUBLISHED = (
    Published("LVS", "Flickr 10k", "flickr", "lvs", 0.582, 0.525),
    Published("LVS", "Flickr 144k", "flickr", "lvs", 0.699, 0.573),
    Published("LVS", "VGG-Sound 144k", "flickr", "lvs", 0.719, 0.582),
    Published("LVS", "VGG-Sound full", "flickr", "lvs", 0.735, 0.590),
    Published("LVS", "VGG-Sound 144k", "vggss", "lvs", 0.344, 0.382),
    Published("EZ-VSL", "Flickr 10k", "flickr", "ezvsl", 0.8193, 0.6258, _TEST_CHOICE),
    Published("EZ-VSL", "Flickr 144k", "flickr", "ezvsl", 0.8313, 0.6306, _LEAK_FLICKR),
    Published("EZ-VSL", "VGG-Sound 10k", "vggss", "ezvsl", 0.3718, 0.3875, _LEAK_10K),
    Published("EZ-VSL", "VGG-Sound 144k", "flickr", "ezvsl", 0.8394, 0.6360, _TEST_CHOICE),
    Published("EZ-VSL", "VGG-Sound 144k", "vggss", "ezvsl", 0.3885, 0.3954, _LEAK_144K),
    Published("EZ-VSL", "VGG-Sound full", "vggss", "ezvsl", 0.3934, 0.3978, _TEST_CHOICE),
    Published(
        "EZ-VSL without OGL", "VGG-Sound full", "flickr", "ezvsl", 0.7831, 0.6174, _TEST_CHOICE
    ),
    Published(
        "EZ-VSL without OGL", "VGG-Sound full", "vggss", "ezvsl", 0.3596, 0.3820, _TEST_CHOICE
    ),
    Published("OGL (L1)", "ImageNet", "flickr", "ezvsl", 0.7831, 0.6117),
    Published("OGL (L1)", "ImageNet", "vggss", "ezvsl", 0.3677, 0.3869),
    Published(
        "EZ-VSL", "VGG-Sound heard 110 (70k)", "vggss_heard", "ezvsl", 0.3725, 0.3897, _TEST_CHOICE
    ),
    Published(
        "EZ-VSL",
        "VGG-Sound heard 110 (70k)",
        "vggss_unheard",
        "ezvsl",
        0.3957,
        0.3960,
        _TEST_CHOICE,
    ),
    Published("Hear The Flow", "Flickr 10k", "flickr_htf", "htf", 0.860, 0.634, _TEST_CHOICE),
    Published("Hear The Flow", "Flickr 144k", "flickr_htf", "htf", 0.865, 0.639, _TEST_CHOICE),
    Published("Hear The Flow", "VGG-Sound 10k", "vggss_htf", "htf", 0.393, 0.398, _TEST_CHOICE),
    Published("Hear The Flow", "VGG-Sound 144k", "flickr_htf", "htf", 0.848, 0.640, _TEST_CHOICE),
    Published("Hear The Flow", "VGG-Sound 144k", "vggss_htf", "htf", 0.394, 0.400, _TEST_CHOICE),
    Published(
        "Hear The Flow", "VGG-Sound heard 110", "vggss_heard", "htf", 0.373, 0.386, _TEST_CHOICE
    ),
    Published(
        "Hear The Flow", "VGG-Sound heard 110", "vggss_unheard", "htf", 0.393, 0.400, _TEST_CHOICE
    ),
    Published("Attention10k", "VGG-Sound 144k", "flickr", "lvs", 0.660, 0.558),
    Published("HardPos", "VGG-Sound 144k", "flickr_250", "lvs", 0.768, 0.592),
    Published("SSPL", "VGG-Sound 144k", "flickr", "lvs", 0.767, 0.605),
    Published("Attention10k", "VGG-Sound 144k", "vggss", "lvs", 0.185, 0.302),
    Published("CoarseToFine", "VGG-Sound 144k", "vggss", "lvs", 0.291, 0.348),
    Published("AVObject", "VGG-Sound 144k", "vggss", "lvs", 0.297, 0.357),
    Published("HardPos", "VGG-Sound 144k", "vggss", "lvs", 0.346, 0.380),
    Published("SSPL", "VGG-Sound 144k", "vggss", "lvs", 0.339, 0.380, "on 4,692 clips", n=4692),
    Published("SLAVC", "VGG-Sound 144k", "vggss", "ezvsl", 0.3779, None),
    Published("FNAC", "VGG-Sound 144k", "vggss", "ezvsl", 0.3950, 0.3966),
    Published(
        "Senocak 2023", "VGG-Sound 144k", "vggss", "ezvsl", 0.3994, None, "best variant .4142"
    ),
    Published(
        "ACL (CLIP)",
        "VGG-Sound 144k",
        "vggss",
        "acl",
        0.4946,
        0.4632,
        "sweeps thresholds on the test set itself",
    ),
    Published(
        "vision-only+CF+TF", "COCO", "urbansas", "flowgrad", 0.68, 0.51, "detector YOLOR-P6", 0.3
    ),
    Published("flow", "nothing", "urbansas", "flowgrad", 0.33, 0.23, "", 0.3),
    Published("RCGrad", "VGG-Sound", "urbansas", "flowgrad", 0.16, 0.13, "", 0.3),
    Published("FlowGrad-H", "VGG-Sound", "urbansas", "flowgrad", 0.50, 0.30, "", 0.3),
    Published("FlowGrad-IC", "Urbansas (unlabelled)", "urbansas", "flowgrad", 0.26, 0.18, "", 0.3),
    Published("FlowGrad-EN", "Urbansas (unlabelled)", "urbansas", "flowgrad", 0.37, 0.23, "", 0.3),
)


def explain_incomparability(result: Mapping[str, Any], published: Published) -> str:
    """Say why a result may not be compared with a published one.

    Args:
        result: an object of the list ``results``; its ``subset`` is the name of a test set or of
            the split that holds it.
        published: one of ``PUBLISHED``.

    Returns:
        The reasons, separated by semicolons; empty if the two may be compared.
    """
    test_set = find_test_sets()[published.test_set]
    # The stage names a test set by its split, ``eval.score`` by its own name.
    is_same_subset = result["subset"] in (test_set.name, test_set.split)
    if result["dataset"] != test_set.dataset or not is_same_subset:
        return f"another test set: {published.test_set}"

    reasons = []
    if result["protocol"] != published.protocol:
        reasons.append(f"another protocol: {published.protocol}")

    # A paper may report on fewer samples than the list has.
    num_published = published.n or test_set.num_published
    if num_published and result["n"] != num_published:
        reasons.append(f"{result['n']:,} samples here, {num_published:,} there")

    if result.get("leakage"):
        reasons.append(f"{result['leakage']:,} test clips are in our training data")
    if published.caveat:
        reasons.append(f"there: {published.caveat}")
    return "; ".join(reasons)
