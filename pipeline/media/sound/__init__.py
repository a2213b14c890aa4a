"""Find and decode windows of a clip's sound: mono, at one rate, each sample at its own time.

In reading order:

- audio_reader: `AudioReader`. Windows of sound at times.
- audio: how a window is decoded and resampled.
- packet_scan: what packets say without being decoded: the extent, changes of the format.
- audio_frames: how decoded frames are put together by their times, around what is lost.
"""
