"""The files of the checkpoint `tiny`: made by `training/`, measured in `docs/tiny.md`."""
