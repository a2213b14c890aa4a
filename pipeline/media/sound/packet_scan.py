"""Read what the packets of a sound say without decoding them: its extent, changes of its format."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import av
from av.container import InputContainer
from av.packet import PacketSideData

from earshot.errors import MediaError
from pipeline.media.files.container import iter_packets

# A packet that claims to be longer is wrong (Ogg that was cut) or ends with a pause.
_LONGEST_PACKET_SECONDS = 10.0
# Side data of packets that changes the decoder.
_CHANGES: tuple[Literal["new_extradata", "param_change"], ...] = ("new_extradata", "param_change")
# The packets of these do not say how many channels they have.
_SILENT_ABOUT_CHANNELS = ("pcm_", "adpcm_", "nellymoser", "speex")
# Samples of one byte, which the decoder turns into two.
_ONE_BYTE_CODECS = ("pcm_alaw", "pcm_mulaw")


@dataclass(frozen=True)
class DecoderChange:
    """A change of format that a decoder must know before the packets from a timestamp on."""

    pts: int
    side_data: PacketSideData


@dataclass(frozen=True)
class PacketScan:
    """What the packets of a stream say without being decoded."""

    # First and last moment, in seconds of the file's own timestamps; None: there are no packets.
    extent: tuple[float, float] | None
    changes: tuple[DecoderChange, ...]


def scan_packets(container: InputContainer, stream: av.AudioStream) -> PacketScan:
    """Read all packets of a stream, from the beginning of the file.

    Raises:
        MediaError: ``corrupt`` where the number of channels changes and no packet says so.
    """
    start, stop = math.inf, -math.inf
    priming_end = -math.inf
    changes: list[DecoderChange] = []
    sizes: list[tuple[int, int]] = []
    for packet in iter_packets(container, stream):
        if packet.pts is None or not packet.size or packet.is_discard:
            continue

        changes += find_changes(packet)
        sizes.append((packet.pts, packet.size))

        begin = float(packet.pts * packet.time_base)
        length = float((packet.duration or 0) * packet.time_base)
        if start == math.inf:
            priming_end = begin + _read_priming(packet)
        start = min(start, begin)
        stop = max(stop, begin + (length if length <= _LONGEST_PACKET_SECONDS else 0.0))

    _require_same_channels(stream, changes, sizes)
    extent = None if start == math.inf else (min(max(start, priming_end), stop), stop)
    return PacketScan(extent, tuple(changes))


def _read_priming(packet: av.Packet) -> float:
    """Return how many seconds the decoder drops from a packet on, because nobody recorded them."""
    rate = packet.stream.codec_context.sample_rate
    if not packet.has_sidedata("skip_samples") or not rate:
        return 0.0
    # The first number of the side data; 32 bits.
    return int.from_bytes(bytes(packet.get_sidedata("skip_samples"))[:4], "little") / rate


def _require_same_channels(
    stream: av.AudioStream, changes: Sequence[DecoderChange], sizes: Sequence[tuple[int, int]]
) -> None:
    """Refuse plain samples whose channels change on the way.

    FLV gives rate and channels with each packet, but FFmpeg passes on only the rate. The packets of
    most codecs contain the number of channels. Plain samples do not, but the size of their packets
    shows it.

    Args:
        stream: the sound.
        changes: of the stream.
        sizes: timestamp and bytes of each packet.
    """
    told = [one for one in changes if one.side_data.data_type == "param_change"]
    codec = stream.codec_context
    if not told or not codec.name.startswith(_SILENT_ABOUT_CHANNELS):
        return

    assert stream.time_base is not None
    ends = [one.pts for one in told[1:]] + [sizes[-1][0]]
    for change, end in zip(told, ends, strict=True):
        # Flags and the rate, 32 bits each.
        rate = int.from_bytes(bytes(change.side_data)[4:8], "little")
        num_bytes = sum(size for pts, size in sizes if change.pts <= pts < end)
        # How many bytes there are between two changes if the channels stay as they were.
        expected = float((end - change.pts) * stream.time_base) * rate * codec.channels
        expected *= 1 if codec.name in _ONE_BYTE_CODECS else codec.format.bytes
        is_plain = codec.name.startswith("pcm_")
        # The size of compressed samples says nothing. That of plain ones at least halves or doubles
        # between mono and stereo; times rounded to milliseconds change it by less.
        if not is_plain or not 2 / 3 < num_bytes / max(expected, 1) < 3 / 2:
            seconds = float(change.pts * stream.time_base)
            raise MediaError(
                "corrupt",
                f"the channels of its audio change at {seconds:.2f} s, expected one number",
            )


def loses_changes(container: InputContainer) -> bool:
    """Return whether a seek in this kind of container can jump over changes of the decoder.

    FLV and NUT announce a change once, with one packet. Other containers announce it in each
    packet, announce it again after a seek (MP4), or cannot change the format (Matroska).
    """
    return container.format.name in ("flv", "kux", "live_flv", "nut")


def find_changes(packet: av.Packet) -> list[DecoderChange]:
    """Return the changes that a packet announces."""
    return [
        DecoderChange(packet.pts or 0, packet.get_sidedata(kind))
        for kind in _CHANGES
        if packet.has_sidedata(kind)
    ]
