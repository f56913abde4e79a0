"""Fetch axe-core, with which the tests look for faults of access in reports: `python tools/axe.py`.

One version, checked against its hash, from the npm registry into the virtual environment; it is no part of the package.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path
from urllib.request import urlopen

VERSION = "4.14.1"
ADDRESS = f"https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz"
SHA512 = (
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
)
SCRIPT = Path(__file__).parents[1] / ".venv" / f"axe-{VERSION}.min.js"


def main() -> None:
    """Write the script, if it is not there yet."""
    if SCRIPT.exists():
        return
    with urlopen(ADDRESS, timeout=60) as answer:
        packed = answer.read()
    if hashlib.sha512(packed).hexdigest() != SHA512:
        sys.exit(f"{ADDRESS} is not the file that it was: its hash is another")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        SCRIPT.write_bytes(member.read())


if __name__ == "__main__":
    main()
