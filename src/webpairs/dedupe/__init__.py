"""Candidates made unique, joined to the images of an archive, and cut into shards."""
