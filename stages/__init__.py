"""Hold one thin module for each DVC stage: read parameters, call the library, write outputs.

Run a stage as ``python -m stages.NAME``.
"""
