"""Published results: which of ours stand beside them, and why they may not be compared."""

import pytest

from eval.published.comparability import PUBLISHED, explain_incomparability, find_counterparts
from eval.published.test_sets import find_test_sets


def find(method, trained_on, test_set):
    (found,) = [
        row
        for row in PUBLISHED
        if (row.method, row.trained_on, row.test_set) == (method, trained_on, test_set)
    ]
    return found


def perfect_row(published):
    """A result against which nothing is known, on the test set of a published one."""
    test_set = find_test_sets()[published.test_set]
    return {
        "model": "m",
        "kind": "model",
        "method": published.own_method,
        "trained_on": published.train_split,
        "num_trained_on": published.num_trained_on,
        "dataset": test_set.dataset,
        "subset": test_set.split,
        "protocol": published.protocol,
        "n": published.n or test_set.num_published,
        "selection": "last",
        "leakage": 0,
    }


def test_published_results_say_why_they_are_not_comparable():
    assert {p.test_set for p in PUBLISHED} <= set(find_test_sets())
    htf = find("Hear The Flow", "VGG-Sound 144k", "vggss_htf")
    result = perfect_row(htf) | {"subset": "vggss_test"}
    assert explain_incomparability(result, htf) == "another test set: vggss_htf"

    changes = {"n": 4600, "protocol": "lvs", "leakage": 3, "num_trained_on": 100}
    assert explain_incomparability(perfect_row(htf) | changes, htf) == (
        "another protocol: htf; 4,600 samples here, 4,670 there; "
        "3 test clips are in our training data; 100 training samples here, 144,000 there; "
        "there: checkpoint chosen on the test set; there: trained without shuffling"
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"own_settings": "width 16 (published: 64)"}, "here: width 16 (published: 64)"),
        ({"leakage": None}, "whether test clips are in our training data is not known"),
        ({"selection": "test"}, "our checkpoint was chosen on the test set"),
        ({"selection": "released"}, "how our checkpoint was chosen is not known"),
        ({"selection": "not stated"}, "how our checkpoint was chosen is not known"),
    ],
)
def test_what_is_not_known_of_our_training_is_not_comparable(changes, reason):
    lvs = find("LVS", "Flickr 144k", "flickr")
    assert reason not in explain_incomparability(perfect_row(lvs), lvs)
    assert reason in explain_incomparability(perfect_row(lvs) | changes, lvs)


def test_a_training_of_ours_is_said():
    """No code of SSLalignment's training is public; its released weights are its authors' own."""
    row = find("Senocak 2023", "VGG-Sound 144k", "vggss_4655")
    ours, theirs = perfect_row(row), perfect_row(row) | {"selection": "released"}
    assert explain_incomparability(ours, row).startswith("here: a training of ours, as no code")
    assert "a training of ours" not in explain_incomparability(theirs, row)


def test_a_result_is_comparable_where_nothing_is_known_against_the_two():
    ogl = find("OGL (L1)", "ImageNet", "vggss")
    own = perfect_row(ogl) | {"kind": "baseline", "leakage": None, "selection": "none"}
    assert explain_incomparability(own, ogl) == ""
    assert explain_incomparability(own | {"n": 5157}, ogl) == "5,157 samples here, 5,158 there"


@pytest.mark.parametrize(
    ("method", "trained_on", "test_set", "caveats"),
    [
        (
            "SSPL",
            "VGG-Sound 144k",
            "vggss",
            ["half of the map's range", "on 4,692", "protocol: sspl"],
        ),
        ("SSPL", "VGG-Sound 144k", "flickr", ["half of the map's range", "chosen on the test"]),
        ("SSPL", "VGG-Sound 144k", "vggss_4692", ["half of the map's range", "protocol: sspl"]),
        ("SSL-TIE", "VGG-Sound 144k", "vggss_4911", ["chosen on the test", "not clipped"]),
        ("SLAVC", "VGG-Sound 144k", "vggss", ["LocAcc", "3,709 of the 5,158"]),
        ("FNAC", "VGG-Sound 144k", "vggss", ["3,715 of the 5,158", "Flickr test set"]),
        ("Senocak 2023", "VGG-Sound 144k", "vggss", ["on 4,655", "strictly above", ".4142"]),
        ("ACL (CLIP)", "VGG-Sound 144k", "vggss", ["sweeps thresholds", "chosen on the test"]),
        ("EchoLoc", "VGG-Sound 144k", "vggss", ["fixed threshold", "protocol: echoloc"]),
        ("LVS", "VGG-Sound 144k", "vggss", ["old boxes", ".303 / .364"]),
        ("AVObject", "VGG-Sound 144k", "vggss", ["old boxes"]),
        ("CoarseToFine", "VGG-Sound 144k", "vggss", ["old boxes"]),
        ("Attention10k", "VGG-Sound 144k", "vggss", ["old boxes"]),
        ("Attention10k", "Flickr 144k", "flickr", ["EZ-VSL's table files"]),
        ("EZ-VSL", "VGG-Sound 144k", "flickr", ["Tables 4 and 5", "chosen on the test"]),
        ("EZ-VSL", "VGG-Sound full", "flickr", ["Tables 4 and 5", "leakage is not known"]),
        ("EZ-VSL", "VGG-Sound 144k", "vggss", ["3,709 of the 5,158", "chosen on the test"]),
        ("EZ-VSL", "VGG-Sound 10k", "vggss", ["238 of the 5,158"]),
        ("EZ-VSL", "Flickr 144k", "flickr", ["20 of the 249"]),
        ("EZ-VSL", "VGG-Sound heard 110 (70k)", "vggss_heard", ["59,468"]),
        ("Hear The Flow", "VGG-Sound heard 110", "vggss_heard", ["2,327"]),
        ("Hear The Flow", "VGG-Sound heard 110", "vggss_unheard", ["2,326"]),
        ("LVS", "VGG-Sound full", "flickr", ["files this number under 144k"]),
        ("flow", "nothing", "urbansas", ["without flow were left out", ".3 on"]),
        ("vision-only+CF+TF", "COCO", "urbansas", ["without a detection", "YOLOR-P6", ".3 on"]),
        ("RCGrad", "VGG-Sound", "urbansas", ["n is not published", "training mode"]),
        ("FlowGrad-H", "VGG-Sound", "urbansas", ["without flow were left out", ".3 on"]),
    ],
)
def test_what_is_known_against_a_published_row_is_said(method, trained_on, test_set, caveats):
    published = find(method, trained_on, test_set)
    reasons = explain_incomparability(perfect_row(published) | {"protocol": "lvs"}, published)
    for caveat in caveats:
        assert caveat in reasons


def test_numbers_that_papers_print_in_two_places_follow_ezvsls_tables_4_and_5():
    numbers = {
        trained_on: (find("EZ-VSL", trained_on, "flickr").success_rate)
        for trained_on in ("VGG-Sound 144k", "VGG-Sound full")
    }
    assert numbers == {"VGG-Sound 144k": 0.8434, "VGG-Sound full": 0.8394}


def test_results_are_matched_by_method_and_training_data():
    published = find("EZ-VSL", "VGG-Sound 144k", "vggss")
    same = perfect_row(published)
    others = [
        same | {"method": "htf"},
        same | {"method": "ezvsl"},  # without its objects
        same | {"trained_on": "vggsound/vggss_10k"},
        same | {"trained_on": "vggsound/htf_vgg_144k"},  # a list of the same name
        same | {"kind": "untrained", "trained_on": None},
        same | {"selection": "released", "trained_on": None},  # of which row is not known
    ]
    again = same | {"model": "second seed"}
    theirs = same | {"selection": "released"}  # their entry says on what they were trained
    assert find_counterparts([*others, same, again, theirs], published) == [same, again, theirs]

    # No method of ours is SSPL.
    sspl = find("SSPL", "VGG-Sound 144k", "vggss")
    assert find_counterparts([same, same | {"method": None}], sspl) == []

    # FlowGrad's authors released the weights of their rows; a baseline has no training.
    flowgrad = find("FlowGrad-IC", "Urbansas (unlabelled)", "urbansas")
    released = perfect_row(flowgrad) | {"selection": "released", "trained_on": None}
    assert find_counterparts([released], flowgrad) == [released]
    flow = find("flow", "nothing", "urbansas")
    rows = [
        perfect_row(flow) | {"method": name, "kind": "baseline"} for name in ("flow", "flow_8bit")
    ]
    assert find_counterparts(rows, flow) == rows[1:]
