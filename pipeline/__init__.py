"""Earshot's library: lists and annotations, downloads, manifests, decoding, features, shards, Dask. No torch."""
