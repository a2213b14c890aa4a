"""The features: arrays that are computed from a clip's picture and sound at a sample's time.

In reading order:

- ``registry``: ``FEATURES``, ``STANDARD_FEATURES``, ``find_companions``, ``find_base``,
  ``is_variant`` - the list of features, and variants of them
- ``feature``: ``Feature``, ``Moment``, ``Needs``, ``AudioWindow``, ``Decoded``, ``Extracted`` -
  what a feature needs from a clip and what it computes
- ``configure``: ``configure_feature``, ``configure_companions``, ``restore_feature``,
  ``load_module``, ``has_weights``, ``require_datasets``, ``find_variants``, ``check_variants`` -
  make a feature from its parameters
- ``extract``: ``extract_features``, ``prepare_features`` - compute any features of a clip in one
  pass

Each feature is a module with ``Parameters`` and ``make_feature``:

- ``frames``: ``resize_frame`` - the picture
- ``flow``: ``compute_flow``, ``aggregate``, ``find_pair_times``, ``encode_jpeg8`` - how the picture
  moves
- ``spectrograms``: ``compute_spectrogram``, ``log_magnitude_spectrogram``,
  ``log_psd_spectrogram`` - a log spectrogram of the sound
- ``waveforms``: ``encode_waveform`` - the sound itself
- ``detections``: ``Detections``, ``Detect``, ``pack_detections``, ``unpack_detections``,
  ``find_weights_path`` - boxes of an object detector

What features share:

- ``sound_window``: ``find_window``, ``find_sound_needs``, ``check_sound_settings`` - which part of
  the sound a sample has
- ``resize``: ``fit_short_side``, ``resize_stored`` - the size of stored pictures and flow
- ``float16``: ``to_float16`` - fast rounding for storage
- ``pictures``: ``draw_boxes``, ``colour_flow``, ``colour_spectrogram``, ``overlay_map``,
  ``encode`` - draw what is cached
- ``sheets``: ``compose_sheet``, ``Panel`` - pictures and text on one sheet
"""
