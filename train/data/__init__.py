"""Batches from shards."""
