"""Runs the command."""

from benchmarks.rounds.command import main

if __name__ == "__main__":
    main()
