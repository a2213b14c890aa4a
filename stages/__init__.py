"""One thin module a DVC stage: read parameters, call the library, write outputs. Run as ``python -m stages.NAME``."""
