"""Colours of labels for the screen: readable on white and on near-black."""

from __future__ import annotations

# Okabe and Ito's without black and yellow; then, one after the other, the colour of middle
# lightness (OKLab .52 to .80) and not too grey that lies furthest from all before it.
# fmt: off
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8740bf", "#80d748",
    "#bf1858", "#807000", "#9f87ff", "#875878", "#f787ff", "#00d7b7", "#ff9f97", "#c7afe7",
    "#afbf87", "#8f9f00", "#3087ff", "#ff6070", "#bf40a7", "#188000", "#8080b7", "#af8f60",
    "#5058d7", "#287870", "#0897af", "#a74838", "#00b748", "#ff8040", "#c768df", "#c7bf00",
    "#ff70bf", "#68af9f", "#af7070", "#df4887", "#6060a7", "#d73838", "#ef97c7", "#788f58",
)
# fmt: on


def colours(n: int) -> list[str]:
    """Give `n` colours; beyond 40 they come again."""
    return [_COLOURS[place % len(_COLOURS)] for place in range(n)]
