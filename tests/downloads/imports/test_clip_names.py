"""A file's name says which clip of the list it is."""

import pytest

from pipeline.downloads.imports.clip_names import ClipNames
from tests.helpers.downloads.import_runs import clips_table


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("-abcdefghi__000030", "-abcdefghi__000030"),
        ("-abcdefghi__30000_34000", "-abcdefghi__000030"),
        ("-abcdefghi__30_34", "-abcdefghi__000030"),
        ("-abcdefghi__000030_000034", "-abcdefghi__000030"),
        ("-abcdefghi__30.0_34.0", "-abcdefghi__000030"),
        ("-abcdefghi__30", "-abcdefghi__000030"),
        ("-abcdefghi_-30-34", "-abcdefghi__000030"),
        ("-abcdefghi__30000", "-abcdefghi__000030"),
        ("-abcdefghi_", "-abcdefghi__000030"),
        ("0123456789a_000000", "0123456789a_000000"),
        ("0123456789a_0_4000", "0123456789a_000000"),
        ("0123456789a_7000_11000", "0123456789a_000007"),
        ("9419455509", "9419455509"),
        ("-abcdefghi__30000_40000", None),  # ten seconds, the list has four
        ("-abcdefghi__000031", None),
        ("zabcdefghi__000030", None),
        ("abcdefghi__000030", None),
        ("", None),
        ("..", None),
    ],
)
def test_names(stem, expected):
    clips = clips_table(
        "-abcdefghi__000030", "0123456789a_000000", "0123456789a_000007", "9419455509"
    )
    assert ClipNames(clips).find(stem) == ({expected} if expected else set())


def test_names_that_fit_several_clips():
    clips = clips_table(
        "0123456789a_000000", "0123456789a_000007", "0123456789b_000005", "0123456789b_005000"
    )
    names = ClipNames(clips)
    assert names.find("0123456789a") == {"0123456789a_000000", "0123456789a_000007"}
    assert names.find("0123456789b_5000") == {"0123456789b_000005", "0123456789b_005000"}
