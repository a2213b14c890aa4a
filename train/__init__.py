"""Earshot's training: models, losses, data loading from shards, fitting, published checkpoints."""
