"""Runs the command."""

from benchmarks.frontier.command import main

if __name__ == "__main__":
    main()
