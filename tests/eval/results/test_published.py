"""Published results, and why ours may not be compared with them."""

from eval.results.published import PUBLISHED, explain_incomparability
from eval.results.test_sets import find_test_sets


def test_published_results_say_why_they_are_not_comparable():
    assert {p.test_set for p in PUBLISHED} <= set(find_test_sets())
    htf = next(
        p
        for p in PUBLISHED
        if p.method == "Hear The Flow"
        and p.trained_on == "VGG-Sound 144k"
        and "vggss" in p.test_set
    )
    result = {
        "dataset": "vggsound",
        "subset": "vggss_test",
        "protocol": "htf",
        "n": 5158,
        "leakage": 0,
    }
    assert explain_incomparability(result, htf) == "another test set: vggss_htf"
    result |= {"subset": "htf_vggss_test", "n": 4600, "protocol": "lvs", "leakage": 3}
    assert explain_incomparability(result, htf) == (
        "another protocol: htf; 4,600 samples here, 4,670 there; "
        "3 test clips are in our training data; "
        "there: checkpoint chosen on the test set"
    )
    lvs = next(p for p in PUBLISHED if p.method == "LVS" and p.test_set == "vggss")
    result = {
        "dataset": "vggsound",
        "subset": "vggss_test",
        "protocol": "lvs",
        "n": 5158,
        "leakage": 0,
    }
    assert explain_incomparability(result, lvs) == ""
