"""Read, check, cut and join media files of any kind, by time.

In reading order:

- timeline: `choose_stream`, `find_origin`, `find_duration`, `find_shown_frame`. Where the time of a
  frame, the duration of a clip and the streams that are read are decided.
- reader: `probe`, `MediaInfo`, `ClipReader`. Frames at times and windows of sound.
- frame: `VideoFrame`. An upright frame as RGB or grey.
- cropping: which part of a picture its container shows. mp4_atoms: parts of MP4 files.
- frame_reader, packet_run, sequential_reader: how frames are found, quickly or surely.
- audio_reader, audio, audio_frames: how windows of sound are found, decoded and put together.
- whole_decode: all pictures of a video in order, around what is damaged.
- media_file, container: opening files.
- truncation: `is_cut_off`. Which files are shorter than they say.
- configuration: whether a decoder's configuration changes within a file.
- formats: which formats and protocols FFmpeg may read.
- validate: `validate_clip`, `read_source_facts`, `ClipFacts`, `SourceFacts`,
  `ValidationParameters`. Whether a file is what was wanted.
- cut: `cut_clip`, `CuttingError`. An exact section of a file, encoded again.
- mux: `mux`, `mux_still`, `SUFFIX`. Picture and sound of two files in one.
- recordings, avi_recordings: `find_recordings`, `write_joined`. Files of several recordings.
- ffmpeg: `find_ffmpeg`, `read_version`. The ffmpeg program.
"""
