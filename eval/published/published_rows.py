"""Results of papers, as data: one row for each line of a table.

The figures are those of the papers named; they come from the tables of EZ-VSL, Hear The Flow,
FlowGrad and later papers. ``caveats`` holds what is known against a row: whatever makes its number
another quantity than ours, or better than it should be.
"""

from dataclasses import dataclass

from eval.published.own_names import (
    HEARD,
    NUM_CLIPS,
    OWN_METHODS,
    TRAIN_SPLITS,
    WITH_RELEASED_WEIGHTS,
)


@dataclass(frozen=True)
class Published:
    """One line of a paper's table."""

    method: str
    trained_on: str
    test_set: str  # a name of ``eval.published.test_sets.find_test_sets()``
    protocol: str  # of ``eval.scoring.protocols``; another name: nobody scores so here
    success_rate: float | None  # at ``success_at``
    auc: float | None
    caveats: tuple[str, ...] = ()
    success_at: float = 0.5
    n: int | None = None  # samples, where the authors report on others than the list has

    @property
    def own_method(self) -> str | None:
        """The same method in the field ``method`` of our results; None: it is not implemented."""
        return OWN_METHODS.get(self.method)

    @property
    def train_split(self) -> str | None:
        """The same training data in the field ``trained_on`` of our results, if it has a name."""
        return TRAIN_SPLITS.get((self.method.removesuffix(" without OGL"), self.trained_on))

    @property
    def num_trained_on(self) -> int | None:
        """The number of training clips, if it is known."""
        return NUM_CLIPS.get(self.trained_on)

    @property
    def is_released(self) -> bool:
        """Whether the weights that the authors released are those of this row."""
        return self.method in WITH_RELEASED_WEIGHTS


# How checkpoints were chosen.
_TEST_CHOICE = "checkpoint chosen on the test set"
_UNKNOWN_CHOICE = "no training code was released, so how the checkpoint was chosen is not known"
_EZVSL = (_TEST_CHOICE, "unreadable training samples were replaced by random others")
_HTF = (_TEST_CHOICE, "trained without shuffling")

# Training data.
_LEAK_144K = "its training list holds 3,709 of the 5,158 test clips"
_LEAK_10K = "its training list holds 238 of the 5,158 test clips"
_LEAK_FLICKR_144K = "its training list holds 20 of the 249 test ids"
_LEAK_FLICKR_10K = "its training list holds 1 of the 249 test ids"
_NO_LIST = "its training list was not published, so leakage is not known"
_OTHER_LIST = "ours is EZ-VSL's list of this name; which one it used is not known here"
_HEARD_LIST = "called 70k, but its published training list holds 59,468 ids"

# Scores.
_OLD_BOXES = "scored with the old boxes of VGG-SS, which are 2 to 3 % off"
_LVS_TABLE = "a run of LVS's authors, whose code was not released"
_HALF_RANGE = "marks half of the map's range, not of its pixels"
_SUCCESS_AT = "its table says that a success counts from .5 on, its code counts from .3 on"
_NO_FLOW = "frames without flow were left out, and its n is not published"
_NO_DETECTION = "frames without a detection were left out, and its n is not published"
_UNKNOWN_N = "its n is not published"
_BATCH_STATISTICS = "its audio encoder was in training mode at test time"

# Tables that contradict each other.
_EZVSL_144K = "EZ-VSL's Tables 4 and 5 print this number; its Table 2 has .8394 / .6360"
_EZVSL_FULL = "EZ-VSL's Tables 4 and 5 print this number; its Table 2 files it under 144k"
_LVS_FULL = "EZ-VSL's Table 2 files this number under 144k"
_ATTENTION = "EZ-VSL's table files this number under VGG-Sound 144k"

PUBLISHED = (
    Published("LVS", "Flickr 10k", "flickr", "lvs", 0.582, 0.525, (_UNKNOWN_CHOICE,)),
    Published("LVS", "Flickr 144k", "flickr", "lvs", 0.699, 0.573, (_UNKNOWN_CHOICE,)),
    Published("LVS", "VGG-Sound 144k", "flickr", "lvs", 0.719, 0.582, (_UNKNOWN_CHOICE,)),
    Published("LVS", "VGG-Sound full", "flickr", "lvs", 0.735, 0.590, (_UNKNOWN_CHOICE, _LVS_FULL)),
    Published(
        "LVS",
        "VGG-Sound 144k",
        "vggss",
        "lvs",
        0.344,
        0.382,
        (_UNKNOWN_CHOICE, _OLD_BOXES, "others get .303 / .364 from its released weights"),
    ),
    Published(
        "EZ-VSL", "Flickr 10k", "flickr", "ezvsl", 0.8193, 0.6258, (*_EZVSL, _LEAK_FLICKR_10K)
    ),
    Published(
        "EZ-VSL", "Flickr 144k", "flickr", "ezvsl", 0.8313, 0.6306, (*_EZVSL, _LEAK_FLICKR_144K)
    ),
    Published("EZ-VSL", "VGG-Sound 10k", "vggss", "ezvsl", 0.3718, 0.3875, (*_EZVSL, _LEAK_10K)),
    Published(
        "EZ-VSL", "VGG-Sound 144k", "flickr", "ezvsl", 0.8434, 0.6377, (*_EZVSL, _EZVSL_144K)
    ),
    Published("EZ-VSL", "VGG-Sound 144k", "vggss", "ezvsl", 0.3885, 0.3954, (*_EZVSL, _LEAK_144K)),
    Published(
        "EZ-VSL",
        "VGG-Sound full",
        "flickr",
        "ezvsl",
        0.8394,
        0.6360,
        (*_EZVSL, _NO_LIST, _EZVSL_FULL),
    ),
    Published("EZ-VSL", "VGG-Sound full", "vggss", "ezvsl", 0.3934, 0.3978, (*_EZVSL, _NO_LIST)),
    Published(
        "EZ-VSL without OGL",
        "VGG-Sound full",
        "flickr",
        "ezvsl",
        0.7831,
        0.6174,
        (*_EZVSL, _NO_LIST),
    ),
    Published(
        "EZ-VSL without OGL",
        "VGG-Sound full",
        "vggss",
        "ezvsl",
        0.3596,
        0.3820,
        (*_EZVSL, _NO_LIST),
    ),
    Published("OGL (L1)", "ImageNet", "flickr", "ezvsl", 0.7831, 0.6117),
    Published("OGL (L1)", "ImageNet", "vggss", "ezvsl", 0.3677, 0.3869),
    Published("EZ-VSL", HEARD, "vggss_heard", "ezvsl", 0.3725, 0.3897, (*_EZVSL, _HEARD_LIST)),
    Published("EZ-VSL", HEARD, "vggss_unheard", "ezvsl", 0.3957, 0.3960, (*_EZVSL, _HEARD_LIST)),
    Published("Hear The Flow", "Flickr 10k", "flickr_htf", "htf", 0.860, 0.634, _HTF),
    Published("Hear The Flow", "Flickr 144k", "flickr_htf", "htf", 0.865, 0.639, _HTF),
    Published("Hear The Flow", "VGG-Sound 10k", "vggss_htf", "htf", 0.393, 0.398, _HTF),
    Published("Hear The Flow", "VGG-Sound 144k", "flickr_htf", "htf", 0.848, 0.640, _HTF),
    Published("Hear The Flow", "VGG-Sound 144k", "vggss_htf", "htf", 0.394, 0.400, _HTF),
    Published(
        "Hear The Flow",
        "VGG-Sound heard 110",
        "vggss_heard",
        "htf",
        0.373,
        0.386,
        (*_HTF, "on other clips: its own test list holds 2,327 of these 2,564"),
    ),
    Published(
        "Hear The Flow",
        "VGG-Sound heard 110",
        "vggss_unheard",
        "htf",
        0.393,
        0.400,
        (*_HTF, "on other clips: its own test list holds 2,326 of these 2,575"),
    ),
    Published(
        "Attention10k",
        "Flickr 144k",
        "flickr",
        "lvs",
        0.660,
        0.558,
        (_LVS_TABLE, _OTHER_LIST, _ATTENTION),
    ),
    Published("HardPos", "VGG-Sound 144k", "flickr_250", "lvs", 0.768, 0.592, (_OTHER_LIST,)),
    Published(
        "SSPL",
        "VGG-Sound 144k",
        "flickr",
        "sspl",
        0.767,
        0.605,
        (_TEST_CHOICE, _HALF_RANGE, _OTHER_LIST),
    ),
    Published(
        "Attention10k",
        "VGG-Sound 144k",
        "vggss",
        "lvs",
        0.185,
        0.302,
        (_LVS_TABLE, _OTHER_LIST, _OLD_BOXES),
    ),
    Published(
        "CoarseToFine",
        "VGG-Sound 144k",
        "vggss",
        "lvs",
        0.291,
        0.348,
        (_LVS_TABLE, _OTHER_LIST, _OLD_BOXES),
    ),
    Published(
        "AVObject",
        "VGG-Sound 144k",
        "vggss",
        "lvs",
        0.297,
        0.357,
        (_LVS_TABLE, _OTHER_LIST, _OLD_BOXES),
    ),
    Published("HardPos", "VGG-Sound 144k", "vggss", "lvs", 0.346, 0.380, (_OTHER_LIST,)),
    Published(
        "SSPL",
        "VGG-Sound 144k",
        "vggss",
        "sspl",
        0.339,
        0.380,
        (_TEST_CHOICE, _HALF_RANGE, _OTHER_LIST, "on 4,692 clips"),
        n=4692,
    ),
    Published(
        "SSPL",
        "VGG-Sound 144k",
        "vggss_4692",
        "sspl",
        0.339,
        0.380,
        (_TEST_CHOICE, _HALF_RANGE, _OTHER_LIST),
    ),
    Published(
        "SACL", "VGG-Sound 144k", "vggss_4692", "sspl", 0.380, 0.400, (_TEST_CHOICE, _HALF_RANGE)
    ),
    Published(
        "SSL-TIE",
        "VGG-Sound 144k",
        "vggss_4911",
        "lvs",
        0.3863,
        0.3965,
        (
            _TEST_CHOICE,
            "its boxes are not clipped to the frame",
            "nobody here has compared this number with its paper",
        ),
    ),
    Published(
        "Senocak 2023",
        "VGG-Sound 144k",
        "vggss_4655",
        "lvs",
        0.3994,
        None,
        ("marks strictly above the median", _UNKNOWN_CHOICE, _OTHER_LIST, "best variant .4142"),
    ),
    Published(
        "SLAVC",
        "VGG-Sound 144k",
        "vggss",
        "locacc",
        0.3779,
        None,
        (
            "this is LocAcc: strictly above .5, bicubic upsampling with aligned corners",
            _LEAK_144K,
        ),
    ),
    Published(
        "FNAC",
        "VGG-Sound 144k",
        "vggss",
        "ezvsl",
        0.3950,
        0.3966,
        (
            "its training list holds 3,715 of the 5,158 test clips",
            "checkpoint chosen on the Flickr test set",
        ),
    ),
    Published(
        "Senocak 2023",
        "VGG-Sound 144k",
        "vggss",
        "lvs",
        0.3994,
        None,
        (
            "on 4,655 clips",
            "marks strictly above the median",
            _UNKNOWN_CHOICE,
            _OTHER_LIST,
            "best variant .4142",
        ),
        n=4655,
    ),
    Published(
        "ACL (CLIP)",
        "VGG-Sound 144k",
        "vggss",
        "acl",
        0.4946,
        0.4632,
        ("sweeps thresholds on the test set itself", _TEST_CHOICE),
    ),
    Published(
        "EchoLoc",
        "VGG-Sound 144k",
        "vggss",
        "echoloc",
        0.3636,
        0.3828,
        ("its AUC is at a fixed threshold", "this number is as another paper cites it"),
    ),
    Published(
        "vision-only+CF+TF",
        "COCO",
        "urbansas",
        "flowgrad",
        0.68,
        0.51,
        ("detector YOLOR-P6", _SUCCESS_AT, _NO_DETECTION),
        0.3,
    ),
    Published("flow", "nothing", "urbansas", "flowgrad", 0.33, 0.23, (_SUCCESS_AT, _NO_FLOW), 0.3),
    Published(
        "RCGrad",
        "VGG-Sound",
        "urbansas",
        "flowgrad",
        0.16,
        0.13,
        (_SUCCESS_AT, _UNKNOWN_N, _BATCH_STATISTICS),
        0.3,
    ),
    Published(
        "FlowGrad-H",
        "VGG-Sound",
        "urbansas",
        "flowgrad",
        0.50,
        0.30,
        (_SUCCESS_AT, _NO_FLOW, _BATCH_STATISTICS),
        0.3,
    ),
    Published(
        "FlowGrad-IC",
        "Urbansas (unlabelled)",
        "urbansas",
        "flowgrad",
        0.26,
        0.18,
        (_SUCCESS_AT, _NO_FLOW, _BATCH_STATISTICS),
        0.3,
    ),
    Published(
        "FlowGrad-EN",
        "Urbansas (unlabelled)",
        "urbansas",
        "flowgrad",
        0.37,
        0.23,
        (_SUCCESS_AT, _NO_FLOW, _BATCH_STATISTICS),
        0.3,
    ),
)
