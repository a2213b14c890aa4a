"""The feature cache: plan, build, verify, repair, prune."""
