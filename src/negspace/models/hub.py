"""The hub, where it cannot be reached: its cache at once, instead of a minute of repeated requests."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlparse

from huggingface_hub import constants


@contextmanager
def cache_alone_where_unreachable(names: Sequence[str]) -> Iterator[None]:
    """Have the hub's client look into its cache alone while open, if a name is not on this machine and the hub's host
    is not known here.

    Args:
        names: folders and files on this machine, or names on the hub.
    """
    before = constants.HF_HUB_OFFLINE
    if not before and not all(os.path.exists(os.path.expanduser(name)) for name in names):
        constants.HF_HUB_OFFLINE = not _known()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _known() -> bool:
    """Whether the hub's host has an address here. A proxy may know it where this machine does not."""
    host = urlparse(constants.ENDPOINT).hostname
    if host is None or urllib.request.getproxies():
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
