"""Find pictures, sounds and masks in a folder of the user's own, and join those of a duet."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from scipy.io import wavfile

from earshot.errors import DataError, MediaError
from pipeline.base.user_files import walk_files
from pipeline.media.mux import mux_still
from pipeline.media.reader import ClipReader

IMAGES, SOUNDS = (".jpg", ".jpeg", ".png"), (".wav", ".flac", ".mp3", ".m4a", ".ogg")
VIDEOS = (".mp4", ".mkv", ".webm")
_FRAME_SECONDS = 5.0  # of a clip of VGG-Sound: the annotated frame
_SIDE = 224  # of each picture of a duet
_SAMPLE_RATE = 16_000  # Hz, of a duet's sound


class MediaFolder:
    """The files of a folder by name, searched once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, list[Path]] = defaultdict(list)  # stem -> files
        for path in walk_files(folder):
            self._paths[path.stem].append(path)

    def find(self, end: str, suffixes: Sequence[str], *, is_mask: bool = False) -> Path | None:
        """Return the file whose path ends as a list says, or None.

        Args:
            end: such as ``helicopter/a_1.png``; without a suffix, any of ``suffixes`` will do.
            suffixes: what the file can be.
            is_mask: masks have the names of pictures and lie in folders with "mask" in their name.

        Raises:
            DataError: two files fit equally well.
        """
        name = end if Path(end).suffix.lower() in suffixes else f"{end}{suffixes[0]}"
        parts = Path(name).with_suffix("").parts
        # Files by how many parts of their paths, from the end on, agree with the list.
        found: dict[int, list[Path]] = defaultdict(list)
        for path in self._paths.get(parts[-1], ()):
            inner = path.relative_to(self._folder)
            in_masks = any("mask" in part.lower() for part in inner.parts[:-1])
            if path.suffix.lower() in suffixes and in_masks == is_mask:
                own = inner.with_suffix("").parts
                pairs = zip(reversed(own), reversed(parts), strict=False)
                same = [a == b for a, b in pairs]
                found[same.index(False) if False in same else len(same)].append(path)

        if not found:
            return None

        best = found[max(found)]
        if len(best) > 1:
            raise DataError(f"{self._folder}: {best[0]} and {best[1]} both fit {end}")
        return best[0]


def join_duet(
    first_path: Path, second_path: Path, target_path: Path, *, heard: Sequence[int] = (0, 1)
) -> None:
    """Publish a clip of two clips: the frames at 5 s, one above the other, and the summed sounds.

    Args:
        first_path: The clip whose frame is above.
        second_path: The clip whose frame is below.
        target_path: The clip to write.
        heard: Whose sounds are added.

    Raises:
        MediaError: a clip cannot be read, or lacks picture or sound.
    """
    pictures, sounds = [], []
    for path in (first_path, second_path):
        with ClipReader(path) as reader:
            info = reader.info
            if not info.has_video or not info.has_audio:
                raise MediaError(
                    "no_audio" if info.has_video else "no_video",
                    f"{path}: has no {'sound' if info.has_video else 'picture'}",
                )
            (frame,) = reader.iter_frames([_FRAME_SECONDS])
            picture = Image.fromarray(frame.rgb)
            pictures.append(np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)))
            sounds.append(reader.read_whole_sound(sample_rate=_SAMPLE_RATE).waveform)

    # The longer of the two sounds goes on alone.
    mixture = np.zeros(max(map(len, sounds)), np.float32)
    for sound in (sounds[number] for number in heard):
        mixture[: len(sound)] += sound

    with TemporaryDirectory() as folder:
        # PNG and floats, so that nothing is lost on the way.
        image_path, sound_path = Path(folder, "pair.png"), Path(folder, "pair.wav")
        Image.fromarray(np.concatenate(pictures)).save(image_path)
        wavfile.write(sound_path, _SAMPLE_RATE, mixture)
        mux_still(image_path, sound_path, target_path)
