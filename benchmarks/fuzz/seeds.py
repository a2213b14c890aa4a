"""Small whole files of many containers and codecs, to be damaged."""

import subprocess
from pathlib import Path

from pipeline.media.files.ffmpeg import find_ffmpeg

# By file name, ffmpeg's options for picture and sound. What this ffmpeg cannot encode is left out.
_KINDS = {
    "h264_aac.mp4": "-c:v libx264 -pix_fmt yuv420p -g 12 -c:a aac",
    "front.mp4": "-c:v libx264 -pix_fmt yuv420p -c:a aac -movflags +faststart",
    "parts.mp4": "-c:v libx264 -pix_fmt yuv420p -g 6 -c:a aac -movflags frag_keyframe+empty_moov",
    "mpeg4_mp3.mp4": "-c:v mpeg4 -c:a libmp3lame",
    "mjpeg_pcm.mov": "-c:v mjpeg -c:a pcm_s16le",
    "rle_pcm.mov": "-c:v qtrle -c:a pcm_s16be",
    "h264_vorbis.mkv": "-c:v libx264 -pix_fmt yuv420p -c:a libvorbis",
    "ffv1_flac.mkv": "-c:v ffv1 -c:a flac",
    "nine.mkv": "-c:v libx264 -pix_fmt yuv420p -c:a libvorbis -ac 8",
    "vp8_opus.webm": "-c:v libvpx -c:a libopus",
    "vp9_opus.webm": "-c:v libvpx-vp9 -deadline realtime -c:a libopus",
    "mpeg4_mp3.avi": "-c:v mpeg4 -bf 2 -c:a libmp3lame",
    "mjpeg_pcm.avi": "-c:v mjpeg -c:a pcm_u8",
    "h264_aac.flv": "-c:v libx264 -pix_fmt yuv420p -c:a aac",
    "flv1_mp3.flv": "-c:v flv -c:a libmp3lame",
    "h264_aac.ts": "-c:v libx264 -pix_fmt yuv420p -g 12 -c:a aac",
    "h264_ac3.ts": "-c:v libx264 -pix_fmt yuv420p -c:a ac3",
    "mpeg2_mp2.mpg": "-c:v mpeg2video -c:a mp2 -r 25",
    "theora_vorbis.ogv": "-c:v libtheora -c:a libvorbis",
    "wmv2_wma.wmv": "-c:v wmv2 -c:a wmav2",
    "h263_amr.3gp": "-c:v h263 -s 176x144 -c:a aac",
    "picture.gif": "-c:v gif",
}


def make_seeds(folder: Path, *, seconds: float = 2.0) -> list[Path]:
    """Encode a moving test picture of 96x64 with a tone; return the files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    source = [
        *("-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=12:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=22050:duration={seconds}"),
    ]
    paths = []
    for name, options in _KINDS.items():
        path = folder / name
        command = [str(find_ffmpeg()), "-nostdin", "-v", "error", "-y", *source, *options.split()]
        done = subprocess.run([*command, "-bitexact", str(path)], capture_output=True, check=False)
        if done.returncode == 0 and path.stat().st_size:
            paths.append(path)
    return sorted(paths)
