"""How people get to the page: its address, the way in, and a browser that opens without the token in an argument."""

from __future__ import annotations

import atexit
import html
import os
import tempfile
import webbrowser
from contextlib import suppress

from rich.console import Console

from camlink.display.web.peer import is_loopback
from camlink.display.web.server import Server


def introduce(page: Server, console: Console) -> None:
    """Print the address of the page and, once, the one that lets in its owner."""
    console.print(f"page    [bold link={page.url}]{page.url}[/]", highlight=False, soft_wrap=True)
    console.print(f"owner   {page.invitation}", style="dim", highlight=False, markup=False, soft_wrap=True)
    if page.encryption:
        console.print(f"sha256  {page.encryption.fingerprint}: what your browser has to show as the fingerprint of the "
                      "certificate", style="dim", highlight=False, markup=False, soft_wrap=True)
    elif not is_loopback(page.host):
        console.print(f"        {page.host} is reached from other machines without encryption; where others listen, "
                      "leave out --tls off", style="yellow", highlight=False, markup=False, soft_wrap=True)


def show_in_browser(page: Server) -> None:
    """Open the page as its owner where there is a screen; the token stands in a file of mode 0600, in no argument."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if isinstance(browser, webbrowser.GenericBrowser):  # those of text terminals would take the terminal away
        return
    handle, path = tempfile.mkstemp(prefix="camlink-", suffix=".html")  # mode 0600
    atexit.register(_remove, path)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(page.invitation)}">')
    browser.open(f"file://{path}")


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
