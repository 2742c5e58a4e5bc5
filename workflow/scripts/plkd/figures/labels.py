"""Names of labels in figures: safe text, short text, one colour each."""

from __future__ import annotations

from collections.abc import Sequence

from plkd.figures.style import PALETTE

# Okabe-Ito, then the colours between 40 and 90 % lightness that lie farthest from white and from
# all colours before them, in OKLab and in OKLab as seen with deuteranopia and protanopia.
_MANY = (
    *PALETTE,
    "#87003c", "#0000ff", "#690096", "#00e1a5", "#8778ff", "#874b00", "#964b78", "#b4d2ff",
    "#d200b4", "#5a3c69", "#ff4b69", "#78ff96", "#c31e4b", "#4b00c3", "#695ae1", "#a5d269",
    "#ff78d2", "#87f0d2", "#96b496", "#3c694b", "#c369d2", "#871e00",
)  # fmt: skip


def plain(text: object) -> str:
    r"""Make a text that matplotlib shows as it is: `$` would begin a formula, so use `\$`."""
    return str(text).replace("$", r"\$")


def short(text: object, length: int = 32) -> str:
    """Cut the middle out of a long text; the ends of cell type names tell them apart."""
    text = str(text)
    if len(text) > length:
        head = (length - 1 + 1) // 2
        text = f"{text[:head]}…{text[head + 1 - length :]}"
    return plain(text)


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """Give every label a colour by its position: 30 different ones, then again from the start."""
    return {name: _MANY[i % len(_MANY)] for i, name in enumerate(labels)}
