"""`python -m camlink`: the command line."""

from camlink.display.terminal.app import main

main()
