"""Get every clip, or the reason why not."""
