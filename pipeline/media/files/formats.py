"""Which files FFmpeg may open: media in a container of its own bytes, and only from the disk.

FFmpeg also reads texts that name other files (playlists, `ffconcat`, session descriptions), file
names that are patterns, and addresses of the network. A clip is identified by the hash of its
bytes, so its pictures must not come from another place. Formats and protocols that are not in the
lists are refused.
"""

# As FFmpeg names them. None of these formats can refer to another file by default.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi asf asf_o flv live_flv kux mpeg mpegts mpegtsraw "
    "mpegvideo mxf gxf nut nuv nsv ogg rm ivr swf wtv ivf dv pva ty mv lxf smk bink roq film_cpk "
    "mpjpeg smjpeg yuv4mpegpipe gif apng avs dhav mtv vividas 4xm flic"
)
_VIDEO_STREAMS = (
    "h261 h263 h264 hevc vvc evc av1 obu m4v mjpeg mjpeg_2000 cavsvideo avs2 avs3 dirac dnxhd vc1 "
    "vc1test ipu"
)
_AUDIO_FILES = (
    "wav w64 aiff au caf flac mp3 aac ac3 ac4 eac3 loas dts dtshd mlp truehd amr ape tak tta wv "
    "mpc mpc8 oma voc aax aa spdif shn sox qcp dsf ircam nistsphere mmf qoa osq iamf gsm"
)
# Recognized, so that validation can say that they are no videos.
_PICTURES_AND_TEXTS = (
    "tty image2 jpeg_pipe png_pipe bmp_pipe gif_pipe webp_pipe tiff_pipe jpegls_pipe jpegxl_pipe "
    "jpegxl_anim j2k_pipe ppm_pipe pgm_pipe pbm_pipe pam_pipe psd_pipe qoi_pipe svg_pipe exr_pipe "
    "dds_pipe pcx_pipe sgi_pipe sunrast_pipe hdr_pipe xbm_pipe xpm_pipe xwd_pipe pfm_pipe pgx_pipe"
)

_PROTOCOLS = "file"

# How far FFmpeg looks for the streams of a file: 5 s and 5 MB, or two minutes and 100 MB.
_LONG_PROBE = {"analyzeduration": "120000000", "probesize": "100000000"}


def make_library_options(*, is_probe_long: bool = False) -> dict[str, str]:
    """Return the options with which FFmpeg's libraries open a file.

    Args:
        is_probe_long: Look far into the file for its streams.
    """
    names = (_CONTAINERS, _VIDEO_STREAMS, _AUDIO_FILES, _PICTURES_AND_TEXTS)
    return {
        "protocol_whitelist": _PROTOCOLS,
        "format_whitelist": _join(*names),
        # The name of a picture (`frame%d.jpg`) is a name, not a pattern for many.
        "pattern_type": "none",
        **(_LONG_PROBE if is_probe_long else {}),
    }


def make_program_options(*, is_probe_long: bool = False) -> dict[str, str]:
    """Return the options of an input of the ffmpeg program, which opens no pictures here.

    Args:
        is_probe_long: Look far into the file for its streams.
    """
    return {
        "protocol_whitelist": _PROTOCOLS,
        "format_whitelist": _join(_CONTAINERS, _VIDEO_STREAMS, _AUDIO_FILES),
        **(_LONG_PROBE if is_probe_long else {}),
    }


def _join(*names: str) -> str:
    return ",".join(" ".join(names).split())
