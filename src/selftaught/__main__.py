"""Lets `python -m selftaught` stand for the `selftaught` command."""

from selftaught.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
