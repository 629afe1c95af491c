"""What a tour made, in one folder, and a page of HTML that shows it: no scripts, nothing fetched from elsewhere."""

from __future__ import annotations

from html import escape
from pathlib import Path

from msgspec import Struct

from shoal.cli.buyer import File

PAGE = "gallery.html"
HEAD = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Shoal: what the tour made</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #223; background: #fcfcfa }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { font-weight: 600; line-height: 1.2 }
h2 { margin: 3rem 0 1rem; padding-top: 1rem; border-top: 1px solid #ccd }
img, video { max-width: 100%; border-radius: 4px; vertical-align: top; margin: 0 .5rem .5rem 0 }
img.made { background: repeating-conic-gradient(#dde 0% 25%, #fff 0% 50%) 0 0 / 20px 20px }
.said { white-space: pre-line }
dl { display: grid; grid-template-columns: 5rem 1fr; gap: 0 1rem; font-size: .85rem; color: #667; margin: 1rem 0 }
dd { margin: 0; overflow-wrap: anywhere }
</style>
<h1>What the tour made</h1>
<p>Each of these was a job, answered by a model on this computer and paid for. The method says what made it.</p>
"""


class Exhibit(Struct, frozen=True, kw_only=True):
    """One job's answer, and all that is known of the job."""

    job: str
    title: str
    #: What came back, in words.
    said: str
    facts: tuple[tuple[str, str], ...]
    #: The files that it made of what; "" if there is none.
    made: str = ""
    source: str = ""


class Gallery:
    """A folder, its exhibits, and their page. A tour that comes later hangs its own in their place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exhibits: list[Exhibit] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def page(self) -> Path:
        """Where the page is, once it is written."""
        return self.folder / PAGE

    def keep(self, file: File) -> Path:
        """Lay a file into the folder."""
        path = self.folder / file.name
        path.write_bytes(file.data)
        return path

    def hang(self, exhibit: Exhibit) -> None:
        """One more, and the page anew."""
        self.exhibits.append(exhibit)
        self.page.write_text(HEAD + "".join(map(_section, self.exhibits)))


def _section(exhibit: Exhibit) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in exhibit.facts)
    shown = [_shown(name, css) for name, css in ((exhibit.source, "source"), (exhibit.made, "made")) if name]
    return (
        f"<h2>{escape(exhibit.title)}</h2>\n<div>{''.join(shown)}</div>\n"
        f'<p class="said">{escape(exhibit.said)}</p>\n<dl>\n{facts}</dl>\n'
    )


def _shown(name: str, css: str) -> str:
    address = escape(name, quote=True)
    match Path(name).suffix:
        case ".mp4":
            return f'<video class="{css}" src="{address}" controls loop muted autoplay></video>\n'
        case ".wav":
            return f'<audio class="{css}" src="{address}" controls></audio>\n'
        case _:
            return f'<img class="{css}" src="{address}" alt="{address}">\n'
