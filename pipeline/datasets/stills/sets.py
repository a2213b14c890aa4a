"""The test sets of still pictures, one row each: their lists, and who reports on them.

The hashes are those of the published bytes. Names of the 104 samples that VPO-SS and VPO-MS share
have the prefix ``ms-`` in VPO-MS, since 16 of them have other boxes there.
"""

import functools
import re
from dataclasses import dataclass

from pipeline.datasets.dataset import TestSet
from pipeline.datasets.stills.entries import (
    Read,
    read_duets,
    read_music,
    read_names,
    read_pixel_boxes,
)
from pipeline.lists.annotations import read_vggss
from pipeline.lists.published_lists import ListFile
from pipeline.lists.vggsound_lists import BOXES

DATASET_NAME = "stills"
_NO_CLIPS_OF_SOUNDS = "its list does not name the clips of VGG-Sound that its sounds are from"
_VGG_CLIP = re.compile(r"[A-Za-z0-9_-]{11}_[0-9]{6}")


@dataclass(frozen=True)
class StillSet:
    """A test set of still pictures."""

    name: str  # of the test set; its folder of media has this name, too, unless it is given
    lists: tuple[ListFile, ...]
    read: Read
    num_published: int  # 0: nobody published it
    note: str
    origin_note: str = ""  # why the videos of its samples are not known
    media_of: str = ""  # the test set whose media it is made from

    @property
    def folder(self) -> str:
        """The name of its folder of media."""
        return self.media_of or self.name

    @property
    def split(self) -> str:
        """The name of its split in the tables."""
        return f"{self.name}_test"

    def as_test_set(self) -> TestSet:
        """Return its row among the test sets of the field."""
        return TestSet(
            self.name,
            DATASET_NAME,
            self.split,
            self.num_published,
            self.note,
            origin_note=self.origin_note,
        )


def _list(family: str, name: str, sha256: str, copy: str) -> ListFile:
    return ListFile(family, name, sha256, copies=(f"since2023/{copy}",))


_DUETS = (
    _list(
        "avgn",
        "vggsound_duet_test.csv",
        "3e212fb1ac3f7f8d71ca6fdff81aa7a3d1e1908d98f946aa644b7d213df730a6",
        "vggsound_duet_test.csv",
    ),
    BOXES,
)
_SETS = (
    StillSet(
        "is3",
        (
            _list(
                "sslalignment",
                "synthetic3240_bbox.json",
                "fb0314fcc42e8bfdcfb24115e4cbbbbdfa2e0a53d59ca424c5308c0147ecde34",
                "is3_bbox.csv",
            ),
        ),
        functools.partial(read_pixel_boxes, is_grouped=True),
        6480,
        "SSLalignment, SSL-SaN and papers of 2025 and 2026: 3,240 synthetic pictures with two "
        "sounds each; no training split",
        origin_note="its pictures are synthetic, and its list does not name the clips of its "
        "sounds",
    ),
    StillSet(
        "vpo_ss",
        (
            _list(
                "sslalignment",
                "vpo_ss_bbox.json",
                "bb6e957d0da2034669e3a54ef91124a09c9b89034ddfa47a56de9d023d09c734",
                "vpo_ss_bbox.csv",
            ),
        ),
        functools.partial(read_pixel_boxes, is_grouped=False),
        890,
        "SSLalignment: COCO pictures with sounds of VGG-Sound, whose clips the list does not name",
        origin_note=_NO_CLIPS_OF_SOUNDS,
    ),
    StillSet(
        "vpo_ms",
        (
            _list(
                "sslalignment",
                "vpo_ms_bbox.json",
                "7974e4c491b7216f3a0c0a3b773f58b33eada5b8c5b64b46a0e607ceeef3608d",
                "vpo_ms_bbox.csv",
            ),
        ),
        functools.partial(read_pixel_boxes, is_grouped=True, prefix="ms-"),
        2157,
        "SSLalignment: as vpo_ss, with several sounds for 1,432 pictures; 2 boxes are empty",
        origin_note=_NO_CLIPS_OF_SOUNDS,
    ),
    StillSet(
        "avs_s4",
        (
            _list(
                "sslalignment",
                "s4_box.json",
                "67da965929c03af6bf4709040d944b5d22daef489e0a7bb2ba3a486ac732b301",
                "avs_s4_bbox.csv",
            ),
        ),
        functools.partial(read_pixel_boxes, is_grouped=False, has_videos=True),
        3700,
        "SSLalignment (boxes), AVSBench and ACL (masks): five frames of 740 clips; 6 boxes are "
        "empty",
    ),
    StillSet(
        "avs_ms3",
        (
            _list(
                "sslalignment",
                "ms3_box.json",
                "9453e0b0822c111cdfc2cde39d54b274cd9c08134a11815c9818bc199ea8d3e7",
                "avs_ms3_bbox.csv",
            ),
        ),
        functools.partial(read_pixel_boxes, is_grouped=False, has_videos=True),
        320,
        "SSLalignment (boxes), AVSBench and ACL (masks): five frames of 64 clips with several "
        "sounds; 29 boxes are empty",
    ),
    StillSet(
        "music_solo",
        (
            _list(
                "avgn",
                "music_solo.json",
                "beb7508129540b98fab3ceb63c62541fc4615eeaffbd05c6c9ab7a9b558e893c",
                "music_solo.json",
            ),
        ),
        read_music,
        2124,
        "AVGN, NoPrior: boxes are x, y, width and height; AVGN reads them as corners, and 1,647 "
        "are then empty",
    ),
    StillSet(
        "music_duet",
        (
            _list(
                "avgn",
                "music_duet.json",
                "ef9dadc0146ea69cc7c41088cba04c10174b617d8a8bcdc4cce65e17e749168f",
                "music_duet.json",
            ),
        ),
        read_music,
        1020,
        "Mix and Localize, AVGN, NoPrior, OA-SSL: two sources in one frame; boxes are x, y, width "
        "and height, AVGN reads them as corners, and 1,027 of 2,040 are then empty",
    ),
    StillSet(
        "vggsound_duet",
        _DUETS,
        functools.partial(read_duets, boxes_of=functools.partial(read_vggss, pattern=_VGG_CLIP)),
        5158,
        "AVGN, NoPrior, OA-SSL: two clips of VGG-SS, their frames stacked and their sounds added; "
        "22 pairs have two sounds of one class",
    ),
    StillSet(
        "vggsound_duet_apart",
        _DUETS,
        functools.partial(
            read_duets,
            boxes_of=functools.partial(read_vggss, pattern=_VGG_CLIP),
            is_apart=True,
        ),
        0,
        "Earshot: the pairs of vggsound_duet, where each sound is heard alone: two samples of one "
        "picture. Easier than the mixture of the papers",
        media_of="vggsound_duet",
    ),
    StillSet(
        "vgginstruments",
        (
            _list(
                "avgn",
                "vgginstruments_test.csv",
                "93b96403745cd9c5063517bb539b753fe378b25635ab97eca28689a916d59276",
                "vgginstruments_test.csv",
            ),
        ),
        read_names,
        446,
        "Mix and Localize, AVGN: the ground truth is masks, which are in the release alone",
        origin_note="its list does not name the videos of its samples",
    ),
)
SETS = {one.split: one for one in _SETS}
