"""Find and decode the pictures that a video shows at given times.

In reading order:

- frame_reader: `FrameReader`. Frames at times, by the way that fits the file.
- packet_run, sequential_reader: how frames are found, quickly or surely.
- whole_decode: all pictures of a video in order, around what is damaged.
- timestamps: `TimestampRepair`. Times of frames that have none, or wrong ones.
- frame: `VideoFrame`. An upright frame as RGB or grey.
- gpu: `Decoder`, `require_gpu`. What an NVIDIA GPU decodes, and whether it can.
"""
