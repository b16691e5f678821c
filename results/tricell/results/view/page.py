"""What `tricell view` puts into the report's page, and the page before there is any."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

END_OF_BODY = b"</body>"


def followed_page(html: bytes, number: int, server: str) -> bytes:
    """Add to a report the bar that follows the run.

    Parameters
    ----------
    html : the report.
    number : counts the pages; the bar shows any other than this.
    server : tells the pages of this server from those of one before it on the same port.
    """
    before, end, after = html.rpartition(END_OF_BODY)
    return before + _bar(number, server) + end + after


def waiting_page(name: str, server: str) -> bytes:
    """Give the page that is shown while there is nothing in the file of this name."""
    title = f"{escape(name)} – waiting"
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n"
        "<style>body { font: 1rem/1.5 sans-serif; margin: 2rem; }</style>\n</head>\n"
        f"<body>\n<main><h1>{escape(name)}</h1>\n"
        "<p>The report appears here as soon as it is made.</p></main>\n</body>\n</html>\n"
    )
    return followed_page(page.encode(), 0, server)


def _bar(number: int, server: str) -> bytes:
    return _template().replace("{{ page }}", str(number)).replace("{{ server }}", server).encode()


@cache
def _template() -> str:
    return (Path(__file__).parent / "following.html").read_text(encoding="utf-8")
