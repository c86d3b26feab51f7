"""Answers to requests, from what the indexes and datasets hold."""
