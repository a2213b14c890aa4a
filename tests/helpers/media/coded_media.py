"""Media whose every frame and sample is known, and checks of what is read or cut from them.

Each frame shows its number as bright and dark columns; the sound is noise. The truth is a plain
decode of the whole file by its timestamps, which uses nothing of the readers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from scipy.io import wavfile

from pipeline.media.reader import ClipReader
from pipeline.media.validate import open_source, read_source_facts
from tests.helpers.media.clip_factory import H264, run_ffmpeg

FPS = 25
SAMPLE_RATE = 48_000
SECONDS = 6
_NUM_BITS = 8
_SIZE = (96, 64)
_PICTURE = (
    f"color=black:size={_SIZE[0]}x{_SIZE[1]}:rate={FPS}:duration={SECONDS},format=gray,"
    f"geq=lum='16+219*mod(floor(N/pow(2,floor(X*{_NUM_BITS}/W))),2)',format=yuv420p"
)
_KEYFRAMES = ("-g", "40")
_MPEG2 = ("-c:v", "mpeg2video", "-b:v", "2M", "-bf", "2", *_KEYFRAMES)
_VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", *_KEYFRAMES)
_H264 = (*H264[:6], *_KEYFRAMES)
_HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", *_KEYFRAMES)
_AV1 = ("-c:v", "libsvtav1", "-preset", "12", *_KEYFRAMES)

CONTAINERS = {  # by name of the file: ffmpeg's options
    "h264_aac.mp4": (*_H264, "-c:a", "aac"),
    "fragments.mp4": (*_H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"),
    "h264_pcm.mov": (*_H264, "-c:a", "pcm_s16le"),
    "hevc_aac.mp4": (*_HEVC, "-c:a", "aac"),
    "hevc_aac.ts": (*_HEVC, "-c:a", "aac"),
    "av1_opus.mkv": (*_AV1, "-c:a", "libopus"),
    "mjpeg_pcm.mov": ("-c:v", "mjpeg", "-q:v", "3", "-c:a", "pcm_s16be"),
    "h264_flac.mkv": (*_H264, "-c:a", "flac"),
    "h264_aac.mkv": (*_H264, "-c:a", "aac"),
    "vp8_opus.webm": (*_VP8, "-c:a", "libopus"),
    "h264_aac.ts": (*_H264, "-c:a", "aac"),
    "mpeg2_mp2.ts": (*_MPEG2, "-c:a", "mp2"),
    "mpeg2_mp2.mpg": (*_MPEG2, "-c:a", "mp2"),
    "mpeg2_ac3.vob": (*_MPEG2, "-c:a", "ac3"),
    "mpeg4_pcm.avi": ("-c:v", "mpeg4", "-b:v", "2M", *_KEYFRAMES, "-c:a", "pcm_s16le"),
    "h264_pcm.avi": (*_H264, "-c:a", "pcm_s16le"),
    "h264_aac.flv": (*_H264, "-c:a", "aac", "-ar", "44100"),
    "wmv2.wmv": ("-c:v", "wmv2", "-b:v", "2M", *_KEYFRAMES, "-c:a", "wmav2"),
}
LAYOUTS = {  # delay of picture and of sound in seconds, and ffmpeg's options
    "plain": (0.0, 0.0, ()),
    "late_sound": (0.0, 0.7, ()),
    "late_picture": (0.7, 0.0, ()),
    "late_clock": (0.0, 0.0, ("-output_ts_offset", "30.25", "-avoid_negative_ts", "disabled")),
    "uneven": (0.0, 0.0, ("-vf", r"select='gt(mod(n*7,11),4)'", "-fps_mode", "passthrough")),
}
# AVI has no times of frames: a stream that begins late, or unevenly, cannot be told there.
_PLAIN_ONLY = (".avi",)
SECTIONS: tuple[tuple[float, float | None], ...] = (  # seconds: on and between frames, to the end
    (0.0, 1.5),
    (1.62, 3.62),
    (2.013, 4.0),
    (3.3, None),
)


def list_files() -> list[tuple[str, str]]:
    """Return container and layout of each file that can be made."""
    return [
        (container, layout)
        for container in CONTAINERS
        for layout in LAYOUTS
        if layout == "plain" or not container.endswith(_PLAIN_ONLY)
    ]


def make_coded(folder: Path, container: str, layout: str) -> Path:
    """Make a file of ``CONTAINERS`` in a layout of ``LAYOUTS``."""
    folder.mkdir(parents=True, exist_ok=True)
    noise_path = folder / "noise.wav"
    if not noise_path.exists():
        wavfile.write(noise_path, SAMPLE_RATE, make_noise())

    picture_delay, sound_delay, options = LAYOUTS[layout]
    path = folder / f"{layout}-{container}"
    run_ffmpeg(
        *("-itsoffset", str(picture_delay), "-f", "lavfi", "-i", _PICTURE),
        *("-itsoffset", str(sound_delay), "-i", str(noise_path), "-map", "0:v", "-map", "1:a"),
        *CONTAINERS[container],
        *options,
        str(path),
    )
    return path


def make_noise() -> np.ndarray:
    """Return the sound: noise below 6 kHz, which every codec keeps, int16."""
    num_samples = SECONDS * SAMPLE_RATE
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(num_samples))
    spectrum[6_000 * SECONDS :] = 0
    noise = np.fft.irfft(spectrum, num_samples)
    return (noise / np.abs(noise).max() * 20_000).astype(np.int16)


def read_number(picture: np.ndarray) -> int:
    """Return the number that a frame shows; ``picture`` is grey or RGB."""
    grey = picture if picture.ndim == 2 else picture[..., 0]
    columns = np.array_split(grey.mean(axis=0), _NUM_BITS)
    return sum(1 << bit for bit, column in enumerate(columns) if column.mean() > 128)


@dataclass(frozen=True)
class Truth:
    """A file's frames and samples by a plain decode; seconds from where it begins."""

    frame_seconds: np.ndarray  # ascending
    numbers: np.ndarray
    last_frame_seconds: float  # how long the last frame is shown, by its packet
    sound: np.ndarray  # mono
    sound_start_seconds: float
    sample_rate: int

    def find_number(self, seconds: float) -> int:
        """Return the number of the frame shown at a time."""
        index = np.searchsorted(self.frame_seconds, seconds + 1e-6, side="right") - 1
        return int(self.numbers[max(index, 0)])

    def is_clear(self, seconds: float) -> bool:
        """Whether no frame begins within two milliseconds of a time."""
        return bool(np.abs(self.frame_seconds - seconds).min() > 0.002)

    def find_sound(self, start_seconds: float, num_samples: int) -> np.ndarray:
        """Return the samples from a time on."""
        first = round((start_seconds - self.sound_start_seconds) * self.sample_rate)
        return self.sound[max(first, 0) : first + num_samples]

    @property
    def sound_stop_seconds(self) -> float:
        """When the sound ends."""
        return self.sound_start_seconds + len(self.sound) / self.sample_rate

    @property
    def stop_seconds(self) -> float:
        """When picture and sound end."""
        return max(float(self.frame_seconds[-1]) + 1 / FPS, self.sound_stop_seconds)

    @property
    def latest_stop_seconds(self) -> float:
        """When picture and sound end at the latest.

        Where frames are unevenly apart, nobody knows how long the last one was shown: a file's
        header and its packet can differ by two frames.
        """
        return max(float(self.frame_seconds[-1]) + self.last_frame_seconds, self.stop_seconds)


def decode_truth(path: Path) -> Truth:
    """Decode a file from its beginning."""
    times, numbers, durations, starts, blocks, rate = [], [], [], [], [], 0
    with av.open(str(path)) as container:
        is_avi = container.format.name == "avi"
        start_seconds = max((container.start_time or 0) / av.time_base, 0.0)
        for frame in container.decode(video=0, audio=0):
            if frame.pts is None or frame.time_base is None:
                continue  # the last one of some decoders repeats the one before
            seconds = float(frame.pts * frame.time_base) - start_seconds
            if isinstance(frame, av.VideoFrame):
                # AVI has no times of frames, only their rate.
                times.append(len(times) / FPS if is_avi else seconds)
                numbers.append(read_number(frame.to_ndarray(format="gray")))
                durations.append(float((frame.duration or 0) * frame.time_base) or 1 / FPS)
            else:
                rate = frame.sample_rate
                starts.append(seconds)
                blocks.append(frame.to_ndarray().reshape(-1))

    # The timestamps of some containers are rounded: all of them together place the sound.
    lengths = np.cumsum([0, *map(len, blocks[:-1])]) / rate
    start = float(np.median(np.array(starts) - lengths))
    sound = np.concatenate(blocks).astype(np.float64)
    if blocks[0].dtype == np.int16:
        sound /= 1 << 15
    elif blocks[0].dtype == np.int32:
        sound /= 1 << 31
    return Truth(np.array(times), np.array(numbers), durations[-1], sound, start, rate)


def find_faults(truth: Truth, path: Path, *, start_seconds: float, seconds: float) -> list[str]:
    """Compare a clip with the part of a file that it should be.

    Args:
        truth: Of the file.
        path: The clip: a cut of the file, or the file itself (``start_seconds`` 0).
        start_seconds: Where the clip begins in the file.
        seconds: How long it is.

    Returns:
        A line for each fault.
    """
    faults = []
    with ClipReader(path) as reader:
        duration = reader.info.duration_seconds
        reaches_end = start_seconds + seconds >= truth.stop_seconds
        slack = truth.latest_stop_seconds - truth.stop_seconds if reaches_end else 0.0
        if not -0.05 <= duration - seconds <= 0.05 + slack:
            faults.append(f"lasts {duration:.3f} s, expected {seconds:.3f} s")

        grid = np.arange(0.0, seconds - 0.01, 0.0613)
        times = [float(t) for t in grid if truth.is_clear(start_seconds + t)]
        expected = [truth.find_number(start_seconds + t) for t in times]
        found = [read_number(frame.rgb) for frame in reader.iter_frames(times)]
        if found != expected:
            where = next(t for t, f, e in zip(times, found, expected, strict=True) if f != e)
            number = found[times.index(where)], expected[times.index(where)]
            faults.append(f"at {where:.3f} s shows frame {number[0]}, expected {number[1]}")

        # The part of the clip that has sound, without what an encoder blurs at its ends.
        first = max(0.0, truth.sound_start_seconds - start_seconds) + 0.1
        last = min(seconds, truth.sound_stop_seconds - start_seconds) - 0.1
        waveform, rate = reader.read_audio(first, last, sample_rate=truth.sample_rate)
    sound = truth.find_sound(start_seconds + first, len(waveform))
    faults += compare_sounds(waveform[: len(sound)], sound, rate)
    return faults


def find_join_faults(truth: Truth, path: Path) -> list[str]:
    """Compare a join of a file's picture and the noise, each counted from its file's zero."""
    faults = []
    with ClipReader(path) as reader:
        times = [t for t in np.arange(0.0, 4.0, 0.0613) if truth.is_clear(t)]
        expected = [truth.find_number(t) for t in times]
        found = [read_number(frame.rgb) for frame in reader.iter_frames(times)]
        if found != expected:
            faults.append(f"shows frames {found[:5]}..., expected {expected[:5]}...")
        waveform, rate = reader.read_audio(1.0, 3.0, sample_rate=SAMPLE_RATE)
    noise = make_noise()[rate : 3 * rate].astype(np.float64) / (1 << 15)
    return faults + compare_sounds(waveform, noise, rate)


def compare_sounds(waveform: np.ndarray, expected: np.ndarray, rate: int) -> list[str]:
    """Return a line for each way in which a sound is not the expected one."""
    num_samples = len(waveform)
    spectra = [np.fft.rfft(sound, 2 * num_samples) for sound in (waveform, expected)]
    products = np.fft.irfft(spectra[0] * np.conj(spectra[1]))
    lag = int(products.argmax())
    lag = lag - 2 * num_samples if lag > num_samples else lag
    likeness = float(products.max() / (np.linalg.norm(waveform) * np.linalg.norm(expected)))

    faults = []
    # Containers that count milliseconds place the sound to half of one; nothing else may move it.
    if abs(lag) > round(0.0006 * rate):
        faults.append(f"sound is {lag} samples late")
    if likeness < 0.97:
        faults.append(f"sound is like the file's by {likeness:.3f} only")
    return faults


def cut_coded(
    source: Path, target: Path, section: tuple[float, float | None], cut: Callable[..., None]
) -> None:
    """Cut a section of a file with ``cut``, which is ``cut_clip`` with its other arguments."""
    with open_source(source) as container:
        facts = read_source_facts(container)
    start_seconds, stop_seconds = section
    cut(
        source,
        target,
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
        video_index=facts.video_index,
        audio_index=facts.audio_index,
    )
