"""Run folders, and runs that are finished."""
