"""What is computed of a moment of a clip."""
