"""`python -m safelight` is the program `safelight`."""

from safelight.cli import main

main()
