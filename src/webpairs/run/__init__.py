"""A run of many units: planned, resumed, retried and finished."""
