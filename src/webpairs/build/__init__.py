"""One shard: its images obtained, decoded, embedded, judged and written."""
