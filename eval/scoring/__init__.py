"""From a map and boxes to numbers."""
