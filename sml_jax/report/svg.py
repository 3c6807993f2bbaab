"""Turns a matplotlib figure into SVG that stands inside a page: its colours follow the page's, and nothing is styled
inline, which the page's security policy would not allow.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib takes fixed colours alone. These stand for colours that the page's style defines for light and dark.
SERIES_COLOURS = tuple(f"#0101{number:02x}" for number in range(8))
TEXT_COLOUR, GRID_COLOUR = "#010200", "#010201"
_PAGE_COLOURS = {
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES_COLOURS)},
    TEXT_COLOUR: "currentColor",
    GRID_COLOUR: "var(--grid)",
}

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
# What an attribute of its own can hold. The rest is left to the page, such as the family of the font.
_ATTRIBUTES = frozenset(
    {
        "fill", "fill-opacity", "font-size", "opacity", "stroke", "stroke-dasharray", "stroke-dashoffset",
        "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor",
    }
)  # fmt: skip


def visible(text: str) -> str:
    """A text with escapes in place of characters that cannot be seen, such as marks that turn the direction of reading.

    A name in a run's file may hold any character, and XML and UTF-8 cannot hold all of them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def inline_svg(figure: Figure, description: str) -> str:
    """A figure as an `<svg>` element for a page.

    Args:
      figure: drawn with the colours of this module.
      description: what the figure shows, in words, for readers who cannot see it.

    Returns:
      The element as text. It holds no style, no script and no link to anything outside.
    """
    # Text stays text, so that the page's font is used and a reader can search it; ids do not change from run to run.
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sml-jax"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}style", f"{_SVG}metadata"):
                parent.remove(child)
    used_ids = set(re.findall(r"#([\w-]+)", " ".join(" ".join(element.attrib.values()) for element in root.iter())))
    for element in root.iter():
        _style_by_attributes(element)
        if (link := element.attrib.pop(_LINK, None)) is not None:
            element.set("href", link)
        # All figures of a page share their ids. Names such as "axes_1" would come up again and again.
        if element.get("id") not in used_ids:
            element.attrib.pop("id", None)
    root.attrib.pop("height", None)
    root.set("width", root.get("viewBox", "0 0 0 0").split()[2])
    root.set("role", "img")
    root.set("aria-label", visible(description))
    # What the style element, which is gone, said of all elements.
    root.set("stroke-linejoin", "round")
    ElementTree.register_namespace("", _SVG[1:-1])
    return ElementTree.tostring(root, encoding="unicode")


def _style_by_attributes(element: ElementTree.Element) -> None:
    """Writes an element's inline style as attributes, and its colours as the page's."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        # Some versions of matplotlib write all of a font as one declaration.
        if name == "font" and (size := re.search(r"[\d.]+px", value)):
            element.set("font-size", size[0])
        elif name in _ATTRIBUTES:
            element.set(name, value)
    for name in ("fill", "stroke"):
        if (colour := element.get(name)) is not None:
            element.set(name, _PAGE_COLOURS.get(colour.lower(), colour))
