"""How English words sound: text in, the sounds of a Piper voice out.

A lexicon decides, then the word's ending, then its letters; so every text can be spoken. Pure: the lexicon
is given, nothing is read or run.
"""

# ruff: noqa: RUF001 - the International Phonetic Alphabet looks like other letters

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

#: A lexicon's entry: one sound, or one for each part of speech.
Entry = str | Mapping[str, str | None] | None

#: From the lexicon's shorthand to the sounds that the voice was trained on, longest first.
SOUNDS = {
    "ɜɹ": "ɜː", "əɹ": "ɚ", "A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ",
    "ʤ": "dʒ", "ʧ": "tʃ", "ᵊ": "ə", "i": "iː", "u": "uː", "ɑ": "ɑː", "ɔ": "ɔː",
}  # fmt: skip
SHORTHAND = re.compile("|".join(SOUNDS))
#: Small words as they sound inside a sentence, where the lexicon has them as they sound alone.
WEAK = {
    "a": "ɐ", "an": "ɐn", "the": "ðə", "of": "ʌv", "to": "tə", "and": "ænd", "was": "wʌz", "for": "fɔːɹ",
}  # fmt: skip

#: Letters of a word that is in no lexicon, longest first, in the lexicon's shorthand.
LETTERS = {
    "tion": "ʃən", "sion": "ʒən", "igh": "I", "tch": "ʧ", "dge": "ʤ", "sch": "sk",
    "ch": "ʧ", "sh": "ʃ", "th": "θ", "ph": "f", "wh": "w", "ck": "k", "ng": "ŋ", "qu": "kw", "kn": "n",
    "wr": "ɹ", "ee": "i", "ea": "i", "oo": "u", "ou": "W", "ow": "O", "oa": "O", "ai": "A", "ay": "A",
    "oi": "Y", "oy": "Y", "au": "ɔ", "aw": "ɔ", "ew": "u", "ie": "i", "ar": "ɑɹ", "er": "əɹ", "ir": "ɜɹ",
    "or": "ɔɹ", "ur": "ɜɹ", "a": "æ", "b": "b", "c": "k", "d": "d", "e": "ɛ", "f": "f", "g": "ɡ", "h": "h",
    "i": "ɪ", "j": "ʤ", "k": "k", "l": "l", "m": "m", "n": "n", "o": "ɑ", "p": "p", "q": "k", "r": "ɹ",
    "s": "s", "t": "t", "u": "ʌ", "v": "v", "w": "w", "x": "ks", "y": "i", "z": "z",
}  # fmt: skip
GRAPHEMES = re.compile("|".join(LETTERS))

TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:,\d{3})*(?:\.\d+)?|[.,;:!?%&+=$€£@]")
MONEY = re.compile(r"([$€£])\s*(\d[\d,.]*\d|\d)")
PAUSES = ".,;:!?"
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
SIGNS = {
    "%": "percent", "&": "and", "+": "plus", "=": "equals", "@": "at",
    "$": "dollars", "€": "euros", "£": "pounds",
}  # fmt: skip

UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
#: Longer numbers are read digit by digit.
NUMBER_DIGITS_MAX = 12


def number(value: int) -> str:
    """A whole number in words."""
    if value < 20:
        return UNITS[value]
    if value < 100:
        tens, rest = divmod(value, 10)
        return TENS[tens] + (f" {UNITS[rest]}" if rest else "")
    size, name = next(scale for scale in SCALES if value >= scale[0])
    count, rest = divmod(value, size)
    return f"{number(count)} {name}" + (f" {number(rest)}" if rest else "")


def digits(text: str) -> str:
    """How a number is read: a year in pairs, a long one or one with a leading zero digit by digit."""
    whole, point, fraction = text.partition(".")
    if point:
        return f"{digits(whole)} point {' '.join(UNITS[int(digit)] for digit in fraction)}"
    plain = text.replace(",", "")
    if len(plain) > NUMBER_DIGITS_MAX or (len(plain) > 1 and plain[0] == "0"):
        return " ".join(UNITS[int(digit)] for digit in plain)
    value = int(plain)
    if text == plain and 1100 <= value <= 2099 and value % 1000 >= 10 and value % 100 >= 10:
        return f"{number(value // 100)} {number(value % 100)}"
    return number(value)


class Speaker:
    """Knows how words sound, from one lexicon."""

    def __init__(self, lexicon: Mapping[str, Entry]) -> None:
        self._lexicon = lexicon

    def sentences(self, text: str) -> Iterator[str]:
        """The sounds of each sentence, pauses included; what holds no word is not spoken."""
        for sentence in SENTENCE_END.split(text):
            if (sounds := self.sounds(sentence)).strip(PAUSES):
                yield sounds

    def sounds(self, sentence: str) -> str:
        spoken = ""
        for token in TOKEN.findall(MONEY.sub(r"\2 \1", sentence.replace("’", "'"))):
            if token in PAUSES:
                spoken += token
            else:
                words = digits(token) if token[0].isdigit() else SIGNS.get(token, token)
                spoken += " ".join(["", *map(self.word, words.split())])
        return spoken.strip()

    def word(self, word: str) -> str:
        """One word as the voice should say it."""
        if weak := WEAK.get(word.lower()):
            return weak
        return SHORTHAND.sub(lambda found: SOUNDS[found[0]], self._shorthand(word))

    def _shorthand(self, word: str) -> str:
        low = word.lower()
        found = self._known(word) or self._known(low) or self._known(low.capitalize())
        if found:
            return found
        if word.isupper() and len(word) <= 5:
            return "".join(self._known(letter) or "" for letter in word)
        return (
            self._inflected(low) or self._joined(low) or GRAPHEMES.sub(lambda found: LETTERS[found[0]], low)
        )

    def _known(self, word: str) -> str | None:
        entry = self._lexicon.get(word)
        return entry if isinstance(entry, str) or entry is None else entry.get("DEFAULT")

    def _inflected(self, word: str) -> str | None:
        """A word that is another with an ending: tokens, jumped, baking, joe's."""
        for ending, say in (("'s", plural), ("s", plural), ("ed", past), ("ing", lambda stem: stem + "ɪŋ")):
            if word.endswith(ending):
                stem = word[: -len(ending)]
                for candidate in (stem, stem + "e", stem[:-1] if stem[-2:-1] == stem[-1:] else ""):
                    if sound := self._known(candidate):
                        return say(sound)
        if word.endswith("es") and (sound := self._known(word[:-2])):
            return plural(sound)
        return None

    def _joined(self, word: str) -> str | None:
        """A word made of two others: block and chain."""
        for cut in range(3, len(word) - 2):
            first, second = self._known(word[:cut]), self._known(word[cut:])
            if first and second:
                return first + second.replace("ˈ", "ˌ")
        return None


def plural(stem: str) -> str:
    if stem.endswith(("s", "z", "ʃ", "ʒ", "ʧ", "ʤ")):
        return stem + "ᵻz"
    return stem + ("s" if stem.endswith(("p", "t", "k", "f", "θ")) else "z")


def past(stem: str) -> str:
    if stem.endswith(("t", "d")):
        return stem + "ᵻd"
    return stem + ("t" if stem.endswith(("p", "k", "f", "s", "ʃ", "ʧ", "θ")) else "d")
