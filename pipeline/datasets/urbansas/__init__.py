"""Urbansas."""
