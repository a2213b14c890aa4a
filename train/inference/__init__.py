"""Maps from trained models."""
