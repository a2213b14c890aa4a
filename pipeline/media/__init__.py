"""Read, check, cut and join media files of any kind, by time.

In reading order:

- files/: opening files; where the time of a frame and the duration of a clip are decided
- pictures/: the frames at given times
- sound/: windows of sound
- reader: `probe`, `MediaInfo`, `ClipReader`. Frames at times and windows of sound.
- validate: `validate_clip`, `read_source_facts`, `ClipFacts`, `SourceFacts`,
  `ValidationParameters`. Whether a file is what was wanted.
- cut: `cut_clip`, `CuttingError`. An exact section of a file, encoded again.
- mux: `mux`, `mux_still`, `SUFFIX`. Picture and sound of two files in one.
- joined_files: `JoinedFiles`. A folder of such files, made again when their sources change.
- recordings, avi_recordings: `find_recordings`, `write_joined`. Files of several recordings.
"""
