"""Messages and exit statuses for exceptions, the same for every command."""

from __future__ import annotations

import errno
import functools
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec

import typer

from negspace.errors import NegspaceError

P = ParamSpec("P")

USER_ERROR, OUR_ERROR, STOPPED = 2, 1, 130


@dataclass
class Settings:
    """Options that hold for all commands."""

    debug: bool = False
    """True if errors come with their traceback."""


settings = Settings()


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into one message on stderr and an exit status."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except typer.Exit:
            raise
        except NegspaceError as error:
            trace()
            _say(f"error\n{error}")
            raise typer.Exit(USER_ERROR) from None
        except BrokenPipeError:
            # The reader of our output has gone (`| head`); a second attempt to flush must not fail either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            trace()
            _say("stopped at once; earlier records are kept")
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            trace()
            # Libraries raise some of their own without a number; and the system refuses memory by this kind, too.
            if isinstance(error, OSError) and error.strerror and error.errno != errno.ENOMEM:
                where = f" {error.filename}" if error.filename else ""
                todo = "check the path and its permissions" if where else "look whether there is room for the output"
                _say(f"error\nasked: to read or write{where}\nfound: {error.strerror}\nto do: {todo}")
                raise typer.Exit(USER_ERROR) from None
            # Imported here, since it brings torch, which the errors above do without.
            from negspace.memory import is_out_of_memory, shortage

            if is_out_of_memory(error):
                found, todo = shortage(error)
                _say(f"error\nasked: this command\nfound: {found}\nto do: {todo}")
                raise typer.Exit(USER_ERROR) from None
            _say(f"internal error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            if not settings.debug:
                _say("to see where, run the same command as `negspace --debug ...`; please report it")
            raise typer.Exit(OUR_ERROR) from None

    return run


@contextmanager
def resumable() -> Iterator[None]:
    """Say how to resume a run that was asked to stop: by the command line as it was given."""
    from negspace.runs.engine import Interrupted

    try:
        yield
    except Interrupted as stop:
        typer.echo(f"{stop}\nto resume: {shlex.join(['negspace', *sys.argv[1:]])}", err=True)
        raise typer.Exit(STOPPED) from None


def trace() -> None:
    """Print the traceback of the exception at hand, if `--debug` asks for it."""
    if settings.debug:
        traceback.print_exc()


def _say(message: str) -> None:
    """Write to stderr, with control characters of foreign text (file names, data) shown instead of sent."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in message)
    print(shown, file=sys.stderr)
