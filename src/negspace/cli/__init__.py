"""Internal: the command line, one function a command.

Every error that a user can mend is one message on stderr (asked, found, to do) and exit status 2; 1 is an error of
ours, and 130 means stopped by Ctrl-C. torch is imported by the commands that need it, not by `--help`.
"""

import atexit
import gc

from negspace.cli.app import app


def main() -> None:
    """Entry point of the command `negspace`."""
    # At its end Python looks at every object several times for cycles to break: more than a second, and nothing gained.
    atexit.register(gc.freeze)
    app()


__all__ = ["app", "main"]
