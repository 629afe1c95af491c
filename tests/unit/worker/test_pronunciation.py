"""Every text can be spoken: by the lexicon, by a word's ending, by its letters."""

# ruff: noqa: RUF001 - the International Phonetic Alphabet looks like other letters

from __future__ import annotations

import pytest

from shoal.worker.pipelines.pronunciation import Speaker, digits, number

LEXICON = {
    "token": "tˈOkən",
    "world": "wˈɜɹld",
    "letter": "lˈɛɾəɹ",
    "judge": "ʤˈʌʤ",
    "read": {"DEFAULT": "ɹˈid", "VBD": "ɹˈɛd"},
    "bake": "bˈAk",
    "jump": "ʤˈʌmp",
    "Paris": "pˈɛɹəs",
    "block": "blˈɑk",
    "chain": "ʧˈAn",
    "three": "θɹˈi",
    "G": "ʤˈi",
    "P": "pˈi",
    "U": "jˈu",
    "nothing": None,
}
SPEAKER = Speaker(LEXICON)


@pytest.mark.parametrize(
    ("word", "sounds"),
    [
        ("world", "wˈɜːld"),
        ("World", "wˈɜːld"),
        ("letter", "lˈɛɾɚ"),
        ("read", "ɹˈiːd"),
        ("paris", "pˈɛɹəs"),
        ("the", "ðə"),
        ("tokens", "tˈoʊkənz"),
        ("judges", "dʒˈʌdʒᵻz"),
        ("token's", "tˈoʊkənz"),
        ("jumped", "dʒˈʌmpt"),
        ("baking", "bˈeɪkɪŋ"),
        ("blockchain", "blˈɑːktʃˌeɪn"),
        ("GPU", "dʒˈiːpˈiːjˈuː"),
        ("shoalish", "ʃoʊlɪʃ"),
        ("nothing", "nɑːθɪŋ"),
    ],
)
def test_a_word_has_its_sounds(word: str, sounds: str) -> None:
    assert SPEAKER.word(word) == sounds


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("world, world!", "wˈɜːld, wˈɜːld!"),
        ("world-world", "wˈɜːld wˈɜːld"),
        ("3 worlds", "θɹˈiː wˈɜːldz"),
        ("$3", SPEAKER.sounds("three dollars")),
        ("3.3%", SPEAKER.sounds("three point three percent")),
        ("don’t", SPEAKER.sounds("don't")),
        ("", ""),
    ],
)
def test_a_sentence_keeps_its_pauses_and_reads_its_signs(text: str, spoken: str) -> None:
    assert SPEAKER.sounds(text) == spoken


def test_a_text_is_spoken_sentence_by_sentence() -> None:
    assert list(SPEAKER.sentences("World. Token!\n\n... \nJudge 3.3")) == [
        "wˈɜːld.",
        "tˈoʊkən!",
        "dʒˈʌdʒ " + SPEAKER.sounds("three point three"),
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (1_250, "one thousand two hundred fifty"),
        (1_000_000, "one million"),
        (999_999_999_999, number(999) + " billion " + number(999_999_999)),
    ],
)
def test_a_number_is_read(value: int, words: str) -> None:
    assert number(value) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026", "twenty twenty six"),
        ("1984", "nineteen eighty four"),
        ("2,026", "two thousand twenty six"),
        ("2000", "two thousand"),
        ("2005", "two thousand five"),
        ("007", "zero zero seven"),
        ("1" * 13, " ".join(["one"] * 13)),
        ("3.14", "three point one four"),
    ],
)
def test_digits_are_read_as_people_do(text: str, words: str) -> None:
    assert digits(text) == words
