"""What vl-convert does for the dashboard, in a process of its own.

It holds the interpreter for seconds, which would stop every running stream, so it never works in the kernel. The
drawing library it makes for the browser is kept in the user's cache folder; making it again needs no network.

    vl-convert -> [vega] -> widget (the library), face (still pictures)
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mblab.errors import MblabError, MissingExtra

__all__ = ["cache_folder", "drawing_code", "is_kept", "picture", "warm"]

PATIENCE_S = 180.0
LIBRARY = """
import gzip, sys, vl_convert
text = vl_convert.javascript_bundle("export {vegaEmbed};", vl_version=sys.argv[1])
sys.stdout.buffer.write(gzip.compress(text.encode(), 9, mtime=0))
"""
PICTURE = """
import json, sys, vl_convert
spec = {**json.load(sys.stdin), "background": "white"}  # on a transparent ground what is half transparent turns grey
sys.stdout.buffer.write(vl_convert.vegalite_to_png(spec, scale=1))
"""
VEGA_LITE = "6.4"

_making = threading.Lock()
_made: bytes | None = None


def cache_folder() -> Path:
    """Return where what is made once is kept: `mblab` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mblab"


def drawing_code() -> bytes:
    """Return the drawing library for the browser, gzipped; made once per computer and version, which takes seconds.

    Raises:
        MissingExtra: vl-convert-python is not installed.
        MblabError: It could not be made; the message says why.
    """
    global _made  # noqa: PLW0603
    with _making:
        if _made is None:
            _made = _kept() or _make()
        return _made


def is_kept() -> bool:
    """Return whether the drawing library was made on this computer before."""
    try:
        return _file().is_file()
    except MissingExtra:
        return False


def warm() -> str:
    """Make the drawing library if it is not kept yet, and return in words where it is.

    Raises:
        MissingExtra: vl-convert-python is not installed.
        MblabError: It could not be made, or not kept.
    """
    size = len(drawing_code())
    if not _file().is_file():
        raise MblabError(f"the drawing library cannot be kept in {cache_folder()}, so each kernel makes it again.")
    return f"the drawing library, {size:,} bytes, in {cache_folder()}"


def _file() -> Path:
    try:
        maker = version("vl-convert-python")
    except PackageNotFoundError:
        raise MissingExtra(
            "the live charts need vl-convert-python, which is not installed; "
            "install it with `pip install vl-convert-python`."
        ) from None
    return cache_folder() / f"vega-{VEGA_LITE}-vlc{maker}.js.gz"


def _kept() -> bytes | None:
    """Return what an earlier process kept, if it is whole."""
    try:
        data = _file().read_bytes()
        gzip.decompress(data)  # checks length and CRC
    except (OSError, EOFError, ValueError):
        return None
    return data


def _make() -> bytes:
    data = _run(LIBRARY, VEGA_LITE)
    target = _file()
    with contextlib.suppress(OSError):  # a folder that cannot be written costs the seconds again next time
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=target.name, delete=False) as partial:
            partial.write(data)
        Path(partial.name).replace(target)
    return data


def picture(spec: dict[str, Any]) -> bytes:
    """Return a chart as a PNG on white.

    Raises:
        MblabError: It could not be drawn.
    """
    return _run(PICTURE, stdin=json.dumps(spec).encode())


def _run(program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    command = [sys.executable, "-P", "-c", program, *arguments]  # -P: no module from the user's folder
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MblabError(f"vl-convert could not be started ({error}).") from None
    if done.returncode or not done.stdout:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line[:1].strip()]
        raise MblabError(f"vl-convert failed ({said[-1] if said else 'no output'}).")
    return done.stdout
