"""Bytes of images, from their first bytes to pixels and the stored copy."""
