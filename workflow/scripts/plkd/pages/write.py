"""The page of a query as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plkd import __version__
from plkd.model.forecast import held_out_scores
from plkd.pages.query import LEVELS, UNPLACED, PageContent
from plkd.pages.remarks import remarks_on
from plkd.utils.files import whole_file
from plkd.utils.resources import resource


@dataclass(frozen=True)
class PageParts:
    """Files that the page is made of.

    Attributes
    ----------
    html, css, script
        Template of Jinja, style and script.
    """

    html: str | Path
    css: str | Path
    script: str | Path

    @classmethod
    def shipped(cls) -> PageParts:
        """Those that come with plkd."""
        return cls(*(resource(f"resources/page/page.{kind}") for kind in ("html", "css", "js")))


VIEWS = {
    "label": "label",
    "confidence": "confidence",
    "score": "unknown score",
    "batch": "batch",
    "truth": "true label",
    "right": "right or wrong",
}
"""What the map can be coloured by, beside genes, and the words for it."""
_COLUMN_OF = {**{name: name for name in VIEWS}, "right": "truth"}
# BokehJS draws the map: a third of the size of plotly.js, and while one drags it draws a part of
# the cells, so that 100,000 also move without a graphics card.
_BOKEH = ("bokeh.min.js", "bokeh-gl.min.js", "bokeh-api.min.js")


def write_page(content: PageContent, output: str | Path, parts: PageParts | None = None) -> None:
    """Write the page of a query: one file, whole or not at all, that loads nothing from elsewhere.

    Parameters
    ----------
    content
        From :func:`plkd.pages.query.page_content`.
    output
        The HTML file.
    parts
        Its template, style and script, if not those that come with plkd.
    """
    from jinja2 import Environment, StrictUndefined

    parts = PageParts.shipped() if parts is None else parts
    html, css, script = (
        Path(path).read_text(encoding="utf-8") for path in (parts.html, parts.css, parts.script)
    )
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": "{:,}".format}
    remarks = remarks_on(content.facts)
    held_out = held_out_scores(content.facts["forecast"])
    shares = [one[side] for one in content.facts["labels"] for side in ("share", "reference_share")]
    text = environment.from_string(html).render(
        **content.facts,
        remarks=remarks,
        held_out=None if held_out is None else held_out[0],
        views=[(key, text) for key, text in VIEWS.items() if _COLUMN_OF[key] in content.columns],
        widest=max([*shares, 1e-9]),
        version=__version__,
        facts_json=_for_script(
            json.dumps(_for_browser(content), ensure_ascii=False, allow_nan=False)
        ),
        blobs={name: packed(column) for name, column in content.columns.items()}
        | {"cell_ids": _packed_bytes("\n".join(content.cell_ids).encode())},
        css=css,
        script=_for_script(script),
        bokeh=[_for_script(source) for source in _bokeh()],
    )
    with whole_file(output) as temporary:
        temporary.write_text(text, encoding="utf-8")


def packed(array: NDArray[Any]) -> str:
    """An array as little-endian bytes, deflated (zlib), in base64; a browser unpacks it itself."""
    return _packed_bytes(
        np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    )


def _packed_bytes(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 6)).decode("ascii")


def _for_browser(content: PageContent) -> dict[str, Any]:
    """What the script reads: the facts, how to read the columns, and what their numbers mean."""
    kinds = {name: column.dtype.str.lstrip("<|") for name, column in content.columns.items()}
    return {**content.facts, "columns": kinds, "levels": LEVELS, "unplaced": UNPLACED}


def _for_script(text: str) -> str:
    """Text that cannot end the element of the page that it stands in."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _bokeh() -> list[str]:
    import bokeh

    folder = Path(bokeh.__file__).parent / "server" / "static" / "js"
    return [(folder / name).read_text(encoding="utf-8") for name in _BOKEH]


def _percent(share: float | None) -> str:
    """A share for people."""
    return "–" if share is None else f"{share:.0%}"
