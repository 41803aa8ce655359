"""``python -m pipelines``: the command line of ``pipelines.cli``."""

from pipelines.cli.main import run

if __name__ == "__main__":
    run()
