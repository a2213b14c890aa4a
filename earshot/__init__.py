"""The contract of the cache: what other people's code may import."""
