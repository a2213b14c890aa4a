"""Published results, as data, and whether a result of ours may stand beside one of them.

Figures are those of the papers named (collected from the tables of EZ-VSL, Hear The Flow, FlowGrad and later papers).
"Comparable" is a strict word here: same test set, same protocol, nothing missing, no leakage that the other has not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from eval.results.test_sets import find_test_sets


@dataclass(frozen=True)
class Published:
    """One line of a paper's table. ``success_rate`` at ``success_at``; ``test_set`` is a name of ``find_test_sets()``.

    ``n``: samples the authors report on where it differs from the test set's list. ``caveat``: what they did that
    an honest reader should know.
    """

    method: str
    trained_on: str
    test_set: str
    protocol: str
    success_rate: float | None
    auc: float | None
    caveat: str = ""
    success_at: float = 0.5
    n: int | None = None


_EZVSL = "checkpoint chosen on the test set"
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
    Published("EZ-VSL", "Flickr 10k", "flickr", "ezvsl", 0.8193, 0.6258, _EZVSL),
    Published("EZ-VSL", "Flickr 144k", "flickr", "ezvsl", 0.8313, 0.6306, _LEAK_FLICKR),
    Published("EZ-VSL", "VGG-Sound 10k", "vggss", "ezvsl", 0.3718, 0.3875, _LEAK_10K),
    Published("EZ-VSL", "VGG-Sound 144k", "flickr", "ezvsl", 0.8394, 0.6360, _EZVSL),
    Published("EZ-VSL", "VGG-Sound 144k", "vggss", "ezvsl", 0.3885, 0.3954, _LEAK_144K),
    Published("EZ-VSL", "VGG-Sound full", "vggss", "ezvsl", 0.3934, 0.3978, _EZVSL),
    Published("EZ-VSL without OGL", "VGG-Sound full", "flickr", "ezvsl", 0.7831, 0.6174, _EZVSL),
    Published("EZ-VSL without OGL", "VGG-Sound full", "vggss", "ezvsl", 0.3596, 0.3820, _EZVSL),
    Published("OGL (L1)", "ImageNet", "flickr", "ezvsl", 0.7831, 0.6117),
    Published("OGL (L1)", "ImageNet", "vggss", "ezvsl", 0.3677, 0.3869),
    Published(
        "EZ-VSL", "VGG-Sound heard 110 (70k)", "vggss_heard", "ezvsl", 0.3725, 0.3897, _EZVSL
    ),
    Published(
        "EZ-VSL", "VGG-Sound heard 110 (70k)", "vggss_unheard", "ezvsl", 0.3957, 0.3960, _EZVSL
    ),
    Published("Hear The Flow", "Flickr 10k", "flickr_htf", "htf", 0.860, 0.634, _EZVSL),
    Published("Hear The Flow", "Flickr 144k", "flickr_htf", "htf", 0.865, 0.639, _EZVSL),
    Published("Hear The Flow", "VGG-Sound 10k", "vggss_htf", "htf", 0.393, 0.398, _EZVSL),
    Published("Hear The Flow", "VGG-Sound 144k", "flickr_htf", "htf", 0.848, 0.640, _EZVSL),
    Published("Hear The Flow", "VGG-Sound 144k", "vggss_htf", "htf", 0.394, 0.400, _EZVSL),
    Published("Hear The Flow", "VGG-Sound heard 110", "vggss_heard", "htf", 0.373, 0.386, _EZVSL),
    Published("Hear The Flow", "VGG-Sound heard 110", "vggss_unheard", "htf", 0.393, 0.400, _EZVSL),
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


def why_not_comparable(result: Mapping, published: Published) -> str:
    """Why ``result`` (of ``results.json``) may not be compared with ``published``; empty when it may.

    ``result["subset"]`` is the name of a test set or of its split.
    """
    test_set = find_test_sets()[published.test_set]
    reasons = []
    if result["dataset"] != test_set.dataset or result["subset"] not in (
        test_set.name,
        test_set.split,
    ):
        return f"another test set: {published.test_set}"
    if result["protocol"] != published.protocol:
        reasons.append(f"another protocol: {published.protocol}")
    num_published = published.n or test_set.num_published
    if num_published and result["n"] != num_published:
        reasons.append(f"{result['n']:,} samples here, {num_published:,} there")
    if result.get("leakage"):
        reasons.append(f"{result['leakage']:,} test clips are in our training data")
    if published.caveat:
        reasons.append(f"there: {published.caveat}")
    return "; ".join(reasons)
