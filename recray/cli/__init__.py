"""The command line. Commands load settings, say what happens, and call the room that does it; heavy imports wait until then."""

from recray.cli.app import main

__all__ = ["main"]
