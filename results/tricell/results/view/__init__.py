"""The report of a run on a local address, made anew while the run goes on.

`seen_file` looks at what is on the disk, `page_maker` makes the page in a process of its own,
`follower` brings both together, `server` answers the browser; `following.html` is what it adds
to the page.
"""

from tricell.results.view.server import Viewer

__all__ = ["Viewer"]
