"""Hold the files of the checkpoint `tiny`; `training/` made them, docs/tiny.md says what they can do."""
