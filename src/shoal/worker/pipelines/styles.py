"""The named styles of the style network, and how a prompt names them. Pure.

The network came without names: these say what its pictures look like. Two of them show plainly which painting
they were learned from and are called by it; no painter is named on a guess.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from shoal.errors import Refused

#: The weight of every style, in the network's order; together they are 1.
Mixture: TypeAlias = tuple[float, ...]

#: In the network's order: each style's name, then other words that mean it.
STYLES: tuple[tuple[str, ...], ...] = (
    ("soft pastel", "pastel"),
    ("yellow comic", "comic", "pop art"),
    ("pale watercolour", "pale watercolor", "watercolour", "watercolor"),
    ("electric strokes", "electric", "neon"),
    ("crimson and cream", "crimson"),
    ("fiery oil", "oil painting", "oil"),
    ("indigo dots", "indigo"),
    ("bold primaries", "primary colours", "primary colors"),
    ("coloured pencil", "colored pencil", "pencil"),
    ("pebble mosaic", "mosaic", "pebbles"),
    ("russet etching", "etching", "russet"),
    ("ochre ink", "ochre"),
    ("lilac haze", "haze", "impressionist", "impressionism"),
    ("acid green", "green poster"),
    ("frost", "ice blue", "ice"),
    ("stained glass",),
    ("blue chalk", "chalk"),
    ("red weave", "weave", "woven"),
    ("sandstone", "sand"),
    ("starry night", "van gogh"),
    ("lava", "deep red"),
    ("paper cut-out", "paper cut", "cut-out"),
    ("grey ink", "gray ink", "ink"),
    ("dark portrait",),
    ("great wave", "hokusai", "woodblock", "woodcut"),
    ("rough swirls", "swirls"),
)
NAMES = tuple(names[0] for names in STYLES)


def _words(text: str) -> str:
    """Words alone, in small letters, with a blank round each."""
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


_PHRASES = sorted(
    ((_words(phrase), style) for style, names in enumerate(STYLES) for phrase in names),
    key=lambda pair: -len(pair[0]),
)


def mixture(prompt: str) -> Mixture:
    """The styles that a prompt names, in equal parts; Refused, with all names, when it names none.

    A longer name is read before a shorter one in it: "grey ink" is one style, not two.
    """
    rest, named = _words(prompt), set()
    for phrase, style in _PHRASES:
        if phrase in rest:
            rest = rest.replace(phrase, "  ")
            named.add(style)
    if not named:
        raise Refused(
            f"the prompt names no style: name one or more of {', '.join(NAMES)}; "
            "or send a picture in the style you want as the file style_image"
        )
    return tuple(1 / len(named) if style in named else 0.0 for style in range(len(STYLES)))
