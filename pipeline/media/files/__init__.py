"""Open media files, and decide what holds for picture and sound alike.

In reading order:

- timeline: `choose_stream`, `find_origin`, `find_duration`, `find_shown_frame`. Where the time of a
  frame, the duration of a clip and the streams that are read are decided.
- container, formats: `open_container`; which formats and protocols FFmpeg may read.
- media_file: an open file that is read again and again.
- truncation: which files are cut off, and which have another recording behind.
- byte_range: a range of bytes as a file, for one of several recordings.
- configuration: whether a decoder's configuration changes within a file.
- cropping, mp4_atoms: what a container cuts off each picture.
- machine: `is_machine_to_blame`. Whether a file is damaged, or this machine cannot read it.
- ffmpeg: `find_ffmpeg`, `read_version`. The ffmpeg program.
"""
