"""Who takes part: baselines, maps on disk, the vision-only topline."""
