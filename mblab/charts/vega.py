"""All that vl-convert does: pictures of a chart, and the library that draws charts in a browser.

It holds the interpreter for seconds the first time, which would stop every running stream: what a dashboard or a page
needs is made in a process of its own. The library is kept in the user's cache folder; making it again needs no network.

    spec       -> [vega] -> PNG and SVG -> render, still pictures of the dashboard
    vl-convert -> [vega] -> drawing library -> dashboard, page
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mblab.errors import MblabError, MissingExtra, extra, missing_package
from mblab.support.files import write_whole

__all__ = ["cache_folder", "drawing_code", "is_kept", "page_code", "picture", "png", "svg", "warm"]

PATIENCE_S: Final = 180.0
LIBRARY: Final = """
import gzip, sys, vl_convert
text = vl_convert.javascript_bundle("export {vegaEmbed};", vl_version=sys.argv[1])
sys.stdout.buffer.write(gzip.compress(text.encode(), 9, mtime=0))
"""
PICTURE: Final = """
import json, sys, vl_convert
sys.stdout.buffer.write(vl_convert.vegalite_to_png(json.load(sys.stdin), scale=1))
"""
EXPORT: Final = re.compile(r"export ?\{([\w$]+) as vegaEmbed\};\s*$")
VEGA_LITE: Final = "6.4"

_making = threading.Lock()
_made: bytes | None = None


def cache_folder() -> Path:
    """Return where what is made once is kept: `mblab` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mblab"


def drawing_code() -> bytes:
    """Return the drawing library for the browser, gzipped; made once per computer and version, which takes seconds.

    It is a JavaScript module that exports `vegaEmbed` and has nothing left to fetch, 0.9 MB unpacked.

    Raises:
        MissingExtra: vl-convert-python is not installed.
        MblabError: It could not be made; the message says why.
    """
    global _made  # noqa: PLW0603
    with _making:
        if _made is None:
            _made = _kept() or _make()
        return _made


def page_code() -> str:
    """Return the drawing library as a script that may stand inside a page and makes `vegaEmbed` known to the next one.

    Raises:
        MissingExtra: vl-convert-python is not installed.
        MblabError: It could not be made, or is not what we know how to use.
    """
    module = gzip.decompress(drawing_code()).decode().replace("\r\n", "\n")
    script, found = EXPORT.subn(r"window.vegaEmbed = \1;", module)
    if not found:
        raise MblabError("this vl-convert makes a drawing library that mblab cannot put into a page.")
    return script.replace("</script", "<\\/script")


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
        raise missing_package("an interactive chart", "vl-convert-python") from None
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
        write_whole(target, data)
    return data


def png(spec: dict[str, Any]) -> bytes:
    """Return a chart as a PNG on white, one pixel a unit, drawn in this process.

    Raises:
        MissingExtra: vl-convert-python cannot be imported.
    """
    return bytes(_converter().vegalite_to_png(_on_white(spec), scale=1))


def svg(spec: dict[str, Any]) -> str:
    """Return a chart as an SVG document, drawn in this process.

    Raises:
        MissingExtra: vl-convert-python cannot be imported.
    """
    return str(_converter().vegalite_to_svg(spec))


def picture(spec: dict[str, Any]) -> bytes:
    """Return the same as `png`, drawn in a process of its own: for a kernel in which a run may be on.

    Raises:
        MblabError: It could not be drawn.
    """
    return _run(PICTURE, stdin=json.dumps(_on_white(spec)).encode())


def _on_white(spec: dict[str, Any]) -> dict[str, Any]:
    # on a transparent ground vl-convert 1.9 turns what is half transparent grey, and the edges of letters with it
    return {**spec, "background": "white"}


def _converter() -> ModuleType:
    with extra("an image of a chart"):
        import vl_convert
    return vl_convert


def _run(program: str, *arguments: str, stdin: bytes = b"") -> bytes:
    command = [sys.executable, "-P", "-c", program, *arguments]  # -P: no module from the user's folder
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MblabError(f"vl-convert could not be started ({error}).") from None
    if done.returncode or not done.stdout:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line[:1].strip()]
        raise MblabError(f"vl-convert failed ({lines[-1] if lines else 'no output'}).")
    return done.stdout
