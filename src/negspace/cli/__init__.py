"""Internal: the command line, one function a command.

Every error that a user can mend is one message on stderr (asked, found, to do) and exit status 2; 1 is an error of
ours, and 130 means stopped by Ctrl-C. torch is imported by the commands that need it, not by `--help`.
"""

from negspace.cli.app import app


def main() -> None:
    """Entry point of the command `negspace`."""
    app()


__all__ = ["app", "main"]
