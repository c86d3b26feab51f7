"""Bytes of archives: inputs, records, codings, HTTP messages; no candidates."""
