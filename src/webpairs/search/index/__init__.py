"""Indexes of embeddings: built, tuned and read."""
