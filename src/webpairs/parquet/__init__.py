"""Parquet files of anyone's making: opened, and bounded before they are decoded."""
