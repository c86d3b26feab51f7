"""Datasets checked against their own numbers and digests."""
