"""Filters of requests, run in processes with limits."""
