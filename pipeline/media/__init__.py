"""Read any media file by time."""
