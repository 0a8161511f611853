"""``python -m latcast``."""

from .cli import main

main()
