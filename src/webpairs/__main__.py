"""Running the command as `python -m webpairs`."""

from webpairs.cli import run

if __name__ == "__main__":
    run()
