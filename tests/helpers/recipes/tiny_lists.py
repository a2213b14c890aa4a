"""The published lists of VGG-Sound and Flickr-SoundNet and a release of Urbansas, very small.

Every list has the name and the format of its authors' file. As in the published ones, some training
lists hold a test clip, or other seconds of its video.
"""

import json
import shutil
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.datasets import flickr
from pipeline.lists import flickr_lists
from pipeline.lists.vggsound_lists import BOXES, FULL, ID_LISTS, NEGATIVES, TEST_SPLITS

# Clips of VGG-Sound. The first video of the test set is longer than its clip.
VGG_TRAIN = [f"{'-_ab'[number % 4]}train{number:05d}_000000" for number in range(24)]
VGG_TEST = [f"_test{number:06d}_000000" for number in range(6)]
_OTHER_SECONDS = f"{VGG_TEST[0][:11]}_000001"
_WITH_TEST_CLIP = {"vggss_10k", "vggss_144k", "fnac_vgg_10k", "fnac_vgg_144k"}
_WITH_TEST_VIDEO = {"vggss_heard", "ssltie_vgg_144k"}
_NUM_HEARD = 3  # of the test clips

# Videos of Flickr. The last test video has the typing error of the published list.
FLICKR_TRAIN = [str(7_000_000_000 + number) for number in range(12)]
FLICKR_TEST = [*(str(8_000_000_000 + number) for number in range(5)), flickr.TYPO]
_ONLY_IN_250 = "8000000099"
_FLICKR_WITH_TEST_VIDEO = {"flickr_10k", "flickr_144k"}

# Of both datasets, one training and one test video are gone.
GONE = {VGG_TRAIN[-1][:11], VGG_TEST[-1][:11], FLICKR_TRAIN[-1], FLICKR_TEST[-2]}

_STREETS_TEST = [f"milan{number}_100" for number in range(3)]
_STREETS_UNLABELLED = [f"paris{number}_200" for number in range(24)]
_STREET_SECONDS, _SAMPLE_RATE = 10, 16_000


def list_videos() -> list[str]:
    """Return the ids of all videos that a site has, in the formats of both sites."""
    vgg = [clip_id[:11] for clip_id in (*VGG_TRAIN, *VGG_TEST)]
    return [*vgg, *FLICKR_TRAIN, *FLICKR_TEST, flickr.CORRECT_ID, _ONLY_IN_250]


def write_lists(folder: Path) -> None:
    """Write ``vggsound/`` and ``flickr/``, each for ``lists_dir``, and ``flickr/xml/``."""
    _write_vggsound(folder / "vggsound")
    _write_flickr(folder / "flickr")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _write_vggsound(folder: Path) -> None:
    for split, file in ID_LISTS.items():
        ids = _list_test(split) if split in TEST_SPLITS else list(VGG_TRAIN)
        ids += VGG_TEST[:1] if split in _WITH_TEST_CLIP else []
        ids += [_OTHER_SECONDS] if split in _WITH_TEST_VIDEO else []
        if split in ("ssltie_heard_test", "ssltie_unheard_test"):
            ids = [f"{clip_id}.jpg" for clip_id in ids]
        if split == "sslalignment_vggss_test":  # begin and end in milliseconds
            ids = [f"{clip_id[:11]}_0_10000" for clip_id in ids]
        _write(folder / file.family / file.name, ids)

    entries = [
        {"file": clip_id, "class": f"class {number % 3}", "bbox": [[0.1, 0.2, 0.5, 0.7]]}
        for number, clip_id in enumerate(VGG_TEST)
    ]
    _write(folder / BOXES.family / BOXES.name, [json.dumps(entries)])

    pairs = [f"{video},{VGG_TEST[0]},non-sounding" for video in VGG_TEST[1:]]
    _write(folder / NEGATIVES.family / NEGATIVES.name, ["video,audio,label", *pairs])
    rows = [f"{clip_id[:11]},0,class 0,train" for clip_id in (*VGG_TRAIN, VGG_TEST[0])]
    rows += [f"{clip_id[:11]},0,class 1,test" for clip_id in VGG_TEST[1:]]
    _write(folder / FULL.family / FULL.name, rows)


def _list_test(split: str) -> list[str]:
    if "unheard" in split:
        return VGG_TEST[_NUM_HEARD:]
    return VGG_TEST[:_NUM_HEARD] if "heard" in split else list(VGG_TEST)


def _write_flickr(folder: Path) -> None:
    for split, file in flickr_lists.ID_LISTS.items():
        if file.name.endswith(".csv"):
            _write(folder / file.family / file.name, [f"{video},0" for video in FLICKR_TEST])
            continue
        videos = [*FLICKR_TRAIN, *(FLICKR_TEST[:1] if split in _FLICKR_WITH_TEST_VIDEO else [])]
        _write(folder / file.family / file.name, videos)

    # The list of the 250 has the right id besides the typing error.
    tests = [*FLICKR_TEST[:-1], flickr.CORRECT_ID, _ONLY_IN_250]
    pairs = [f"{video},{FLICKR_TRAIN[0]},non-sounding" for video in tests]
    path = folder / flickr_lists.NEGATIVES.family / flickr_lists.NEGATIVES.name
    _write(path, ["video,audio,label", *pairs])

    frames = {video: [31 + 20 * number] for number, video in enumerate(tests)}
    for name in ("imagetoframe", "imagetoframe_expanded"):
        _write(folder / "htf" / f"{name}.json", [json.dumps(frames)])

    known = [f"http://www.flickr.com/videos/1@N00/{video}/play/orig/abc" for video in FLICKR_TRAIN]
    _write(folder / flickr_lists.URLS.family / flickr_lists.URLS.name, known)

    boxes = "".join(
        f"<user{number}><bbox><i>0</i><xmin>32</xmin><ymin>32</ymin>"
        f"<xmax>{128 + 32 * number}</xmax><ymax>192</ymax></bbox></user{number}>"
        for number in (1, 2, 3)
    )
    for video in (*FLICKR_TEST, _ONLY_IN_250):
        _write(folder / "xml" / f"{video}.xml", [f"<annotation>{boxes}</annotation>"])


def write_release(folder: Path, videos: Sequence[Path]) -> None:
    """Write a release of Urbansas; each clip has a tone of its own.

    Args:
        folder: Of the release.
        videos: Files with a picture of 128 x 96 pixels, which the clips take in turn.
    """
    for name in ("video_24fps", "audio"):
        (folder / name).mkdir(parents=True)
    times = np.arange(_STREET_SECONDS * _SAMPLE_RATE) / _SAMPLE_RATE
    for number, clip_id in enumerate((*_STREETS_TEST, *_STREETS_UNLABELLED)):
        shutil.copy(videos[number % len(videos)], folder / "video_24fps" / f"{clip_id}.mp4")
        tone = np.sin(2 * np.pi * (200 + 50 * number) * times)
        with wave.open(str(folder / "audio" / f"{clip_id}.wav"), "wb") as file:
            file.setparams((1, 2, _SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((8000 * tone).astype("<i2").tobytes())

    boxes = [f"{clip_id},milan,m1,{time},0,tau" for clip_id in _STREETS_TEST for time in (1.0, 2.0)]
    header = "frame_id,track_id,x,y,w,h,class_id,visibility,label,filename,city,location_id,time"
    rows = [f"0,1,20,20,50,50,0,1.0,car,{row}" for row in boxes]
    _write(folder / "annotations" / "video_annotations.csv", [f"{header},night,subset", *rows])
    header = "filename,class_id,label,non_identifiable_vehicle_sound,start,end"
    rows = [f"{clip_id},0,car,0,0.5,8.0" for clip_id in _STREETS_TEST]
    _write(folder / "annotations" / "audio_annotations.csv", [header, *rows])


def make_box(number: int) -> bytes:
    """Return a box for the end of an MP4 file that makes its bytes its own."""
    return (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
