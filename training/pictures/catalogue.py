"""Which pictures there are, what they are called, and which of them training never sees.

A picture is held back whole, or only some of its texts are: both are drawn by a fixed seed before anything is
trained, so that every score is about questions that were never answered in training.
"""

from __future__ import annotations

import io
import random
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from fontTools.ttLib import TTFont
from PIL import Image

from pictures import sources

SEED = 20261121
SIDE_PX = 64
MARGIN_PX = 2
#: One in so many.
PICTURES_HELD_BACK = 20
TEXTS_HELD_BACK = 10
#: A keyword that so many pictures share says nothing about one of them.
PICTURES_PER_KEYWORD_MAX = 12

#: Signs rather than pictures, and what a text could not tell apart at this size.
LEFT_OUT = (
    "button", "arrow", "keycap", "skin tone", "-thirty", "input", "sign of", "component", "hair",
    "fast-forward", "reverse", "medium", "Japanese", "trigram", "regional", "mark", "letter", "bars", "dashes",
)  # fmt: skip
#: Where left and right, or letters, matter.
NOT_MIRRORED = ("left", "right", "clock", "music", "text", "ABC", "abc", "calendar", "book", "sign", "flag")
PEOPLE = {
    "face",
    "person",
    "man",
    "woman",
    "hand",
    "body",
    "boy",
    "girl",
    "couple",
    "family",
    "people",
    "baby",
}

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One picture with its name, its other words, and whether training sees it."""

    character: str
    name: str
    keywords: tuple[str, ...]
    picture: Picture = field(repr=False)  # SIDE_PX x SIDE_PX x 4
    held_back: bool

    @property
    def mirrored(self) -> bool:
        return not any(word in self.name for word in NOT_MIRRORED)

    @property
    def thing(self) -> bool:
        """Something that has other colours and of which there are several, rather than a person or a face."""
        return not PEOPLE & set((self.name + " " + " ".join(self.keywords)).replace("-", " ").split())

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything it may be called; the name first."""
        other = " ".join(unicodedata.name(mark, "").lower() for mark in self.character if ord(mark) > 0x2100)
        texts = [self.name, with_article(self.name), f"a picture of {with_article(self.name)}", other.strip()]
        texts += self.keywords
        texts += [f"{keyword} {self.name}" for keyword in self.keywords if keyword not in self.name]
        return tuple(dict.fromkeys(text for text in texts if text))


def load(folder: Path) -> list[Entry]:
    """Every picture of the catalogue, always in the same order."""
    names = _names(folder)
    uses: dict[str, int] = {}
    font = TTFont(sources.place(sources.FONT, folder))
    strikes, glyphs = font["CBDT"].strikeData[0], set(font["CBDT"].strikeData[0])
    by_character = font.getBestCmap()
    found = []
    for character, (name, keywords) in sorted(names.items()):
        glyph = _glyph(character, by_character, glyphs)
        if glyph is None or any(part in name for part in LEFT_OUT):
            continue
        found.append((character, name, keywords, _shrunk(strikes[glyph].imageData)))
        for keyword in keywords:
            uses[keyword] = uses.get(keyword, 0) + 1
    chance = random.Random(SEED)
    return [
        Entry(
            character,
            name,
            tuple(word for word in keywords if word != name and uses[word] <= PICTURES_PER_KEYWORD_MAX),
            picture,
            chance.randrange(PICTURES_HELD_BACK) == 0,
        )
        for character, name, keywords, picture in found
    ]


def text_held_back(text: str) -> bool:
    """Whether training never sees this text; names themselves are always shown."""
    return random.Random(f"{SEED} {text}").randrange(TEXTS_HELD_BACK) == 0


def with_article(name: str) -> str:
    """`a cat`, `an apple`; what is many already stays as it is."""
    if name.endswith("s") and not name.endswith(("ss", "us")):
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name


def plural(name: str) -> str:
    """Several of them."""
    if name.endswith(("s", "x", "ch", "sh")):
        return name if name.endswith("s") and not name.endswith("ss") else name + "es"
    return name[:-1] + "ies" if name.endswith("y") and name[-2:-1] not in "aeiou" else name + "s"


def _names(folder: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for wanted in (sources.NAMES, sources.MORE_NAMES):
        for note in ET.parse(sources.place(wanted, folder)).iter("annotation"):  # noqa: S314 - checked
            character, text = note.attrib["cp"], (note.text or "").replace("\u2019", "'")
            if note.attrib.get("type") == "tts":
                names[character] = text
            else:
                keywords[character] = tuple(word.strip() for word in text.split("|"))
    return {character: (name, keywords.get(character, ())) for character, name in names.items()}


def _glyph(character: str, by_character: dict[int, str], glyphs: set[str]) -> str | None:
    """The picture's place in the font: of one character, or of a person and what belongs to their work."""
    marks = [ord(mark) for mark in character]
    if len(marks) == 1 and marks[0] >= 0x2600 and not 0x1F1E6 <= marks[0] <= 0x1F1FF:
        glyph = by_character.get(marks[0])
    elif len(marks) == 3 and marks[0] == 0x1F9D1 and marks[1] == 0x200D:
        glyph = "u" + "_".join(f"{mark:04X}" for mark in marks)
    else:
        glyph = None
    return glyph if glyph in glyphs else None


def _shrunk(png: bytes) -> Picture:
    """The whole picture on SIDE_PX; colours are weighed by how much they cover, so that edges stay clean."""
    image = Image.open(io.BytesIO(png)).convert("RGBA").convert("RGBa")
    side = max(image.size)
    square = Image.new("RGBa", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    inner = SIDE_PX - 2 * MARGIN_PX
    small = square.resize((inner, inner), Image.Resampling.BOX).convert("RGBA")
    whole = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    whole.paste(small, (MARGIN_PX, MARGIN_PX))
    return np.asarray(whole)
