"""Everything that recipes need, on this machine: lists, a site, a release, and small settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision

from tests.helpers.checkouts import TINY, TINY_RUN, set_parameter
from tests.helpers.downloads.download_helpers import QUICK, encode
from tests.helpers.downloads.misbehaving_server import Answer, MisbehavingServer
from tests.helpers.recipes.tiny_lists import (
    GONE,
    VGG_TEST,
    list_videos,
    make_box,
    write_lists,
    write_release,
)
from tests.helpers.training.golden_formula import fill_state_dict
from tests.helpers.training.teachers import write_soundnet
from train.models.registry import build_parameters, load_method, make_model

_SECONDS = 10
_DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"
NARROW = {"width": 8, "image_size": 64}
# A run of a published method, with everything small that may be.
_SMALL_RUN = {
    **NARROW,
    "epochs": 1,
    "batch_size": 4,
    "init": "random",
    "spectrogram_pooling": 4,
}


@dataclass(frozen=True)
class TinyWorld:
    """What is made once for all recipes."""

    folder: Path
    server: MisbehavingServer

    @property
    def resnet(self) -> str:
        """Path of weights in torchvision's layout."""
        return str(self.folder / "resnet18.pth")


def make_world(folder: Path, server: MisbehavingServer) -> TinyWorld:
    """Write lists, media and weights, and let the server have the videos."""
    write_lists(folder)
    clips = [_make_video(folder / f"{tone}.mp4", tone) for tone in (300, 500, 800)]
    silent = [
        encode(path.with_suffix(".silent.mp4"), "-i", str(path), "-an", "-c", "copy")
        for path in clips
    ]
    write_release(folder / "urbansas", silent)

    longer = _make_video(folder / "longer.mp4", 400, seconds=_SECONDS + 2)
    for number, video_id in enumerate(list_videos()):
        path = longer if VGG_TEST[0].startswith(video_id) else clips[number % len(clips)]
        answer = Answer(body=path.read_bytes() + make_box(number))
        if video_id in GONE:
            answer = Answer(status=404, content_type="text/plain", body=b"gone")
        server.add(f"/{video_id}.mp4", answer)

    world = TinyWorld(folder, server)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18(weights=None).state_dict(), world.resnet)
        make_detector = getattr(torchvision.models.detection, _DETECTOR)
        detector = make_detector(weights=None, weights_backbone=None, num_classes=91)
        torch.save(detector.state_dict(), folder / "detector.pth")
    write_soundnet(folder)
    return world


def _make_video(path: Path, tone: int, *, seconds: int = _SECONDS) -> Path:
    """Make a moving picture of 128 x 96 pixels with a tone that comes and goes."""
    sound = f"sine=frequency={tone}:sample_rate=16000:duration={seconds},tremolo=f=2"
    return encode(
        path,
        *("-f", "lavfi", "-i", f"testsrc2=size=128x96:rate=8:duration={seconds}"),
        *("-f", "lavfi", "-i", sound, "-pix_fmt", "yuv420p", "-c:v", "libx264"),
        *("-preset", "ultrafast", "-c:a", "aac"),
    )


def shrink(params: dict[str, Any], world: TinyWorld) -> None:
    """Point the parameters of a recipe at the tiny world, and make small what is slow."""
    url = world.server.url_of("/{video_id}.mp4")
    lists = {name: str(world.folder / name) for name in ("vggsound", "flickr")}
    values = {
        **TINY,
        "sources.vggsound.lists_dir": lists["vggsound"],
        "sources.vggsound.video_url": url,
        "sources.flickr.lists_dir": lists["flickr"],
        "sources.flickr.annotations_dir": f"{lists['flickr']}/xml",
        "sources.flickr.video_url": url,
        "sources.flickr.unlisted_url": url,
        "sources.urbansas.folder": str(world.folder / "urbansas"),
        "download": {**params["download"], **QUICK},
        "evaluate.num_resamples": 50,
        "evaluate.object_guidance_weights": world.resnet,
        "detections.detector": {"name": _DETECTOR, "weights": str(world.folder / "detector.pth")},
        "sequence.size": NARROW["image_size"],
        "hardware": {"accelerator": "cpu", "num_threads": 1},
    }
    for name, value in values.items():
        set_parameter(params, name, value)
    # Further seeds are the same runs again.
    params["models"] = [name for name in params["models"] if "_seed" not in name]
    for name in params["models"]:
        params["train"][name] |= _shrink_run(params["train"][name], world)
    # FlowGrad's runs begin with weights that RCGrad's authors released.
    for name in {*params["released"], "rcgrad_released"}:
        params["weights"][name] |= _write_released(params["weights"][name], world)


def _shrink_run(section: dict[str, Any], world: TinyWorld) -> dict[str, Any]:
    """Return the settings of a run that change."""
    if "dataset" not in section:
        # These are narrow already.
        small = {name: TINY_RUN[name] for name in ("epochs", "batch_size", "image_size")}
        return small | ({"num_neighbours": 3} if "num_neighbours" in section else {})
    changes: dict[str, Any] = dict(_SMALL_RUN)
    if "spectrograms" not in load_method(section["method"]).Model.reads:
        del changes["spectrogram_pooling"]
    # A run that begins with another one keeps doing so.
    if (
        section.get("init", "random") not in ("random", "imagenet")
        or section.get("preset") == "flowgrad_published"
    ):
        del changes["init"]
    changes |= {
        "ezvsl": {"object_guidance_weights": world.resnet},
        "htf": {"freeze_vision": False},
        "attention10k": {
            "freeze_vision": False,
            "teacher_weights": str(world.folder / "sound8.pth"),
        },
        "sspl": {
            "image_size": 96,
            "freeze_vision": False,
            "freeze_sound": False,
            "teacher_weights": "random",
        },
        "coarsetofine": {"teacher_weights": world.resnet},
        "hardpos": {"frame_encoder": section.get("sound_encoder"), "num_neighbours": 3},
        "sslalignment": {"frame_encoder": section.get("sound_encoder"), "num_neighbours": 3},
    }.get(section["method"], {})
    return changes


def _write_released(entry: dict[str, Any], world: TinyWorld) -> dict[str, Any]:
    """Serve weights by formula in their authors' layout; return what changes in their entry."""
    method = "rcgrad" if entry["method"] == "flowgrad_h" else entry["method"]
    settings = {"method": method, **NARROW}
    if method == "sslalignment":
        settings["embedding_size"] = 0  # no projections, as in its authors' files
    template = make_model(build_parameters(settings, "test")).state_dict()
    state = fill_state_dict(template, entry["url"])
    content: dict[str, Any] = {
        "lvs": {"model_state_dict": {f"module.{key}": value for key, value in state.items()}},
        "slavc": {"model": state},
        "sslalignment": {"model_state_dict": state},
        "rcgrad": state,
    }.get(method, {"state_dict": state})
    path = world.folder / f"{method}.pth"
    torch.save(content, path)
    name = entry["url"].rpartition(":")[2].rpartition("/")[2]
    url = world.server.add(f"/weights/{name}.pth", Answer(body=path.read_bytes()))
    return {"url": url, "sha256": None, "num_bytes": None, "settings": NARROW}
