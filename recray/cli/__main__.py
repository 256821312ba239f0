"""`python -m recray.cli`: the command line without an installed script."""

from recray.cli.app import main

main()
