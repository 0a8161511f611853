"""``python -m latcast``."""

from latcast.cli import main

main()
