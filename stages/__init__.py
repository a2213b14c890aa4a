"""Hold one thin module for each DVC stage: read parameters, call the library, write outputs.

Run a stage as ``python -m stages.NAME``.
"""

from pipeline.base.environment import require_environment

# `python -m stages.NAME` imports this first. Without the packages, the stage's imports would fail.
require_environment()
