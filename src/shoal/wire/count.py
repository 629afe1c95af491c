"""The one calculator of work units: what a request comes to, and the most that an answer to it can be worth.

Who buys, who sells and who works count by these functions and by the bytes that they have before them, never by
what somebody else says of them. A file is read no further than its measure takes; nothing is unpacked or decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from shoal.errors import Refused, TooLarge, Untrusted
from shoal.wire import picture, sound
from shoal.wire.answers import LlmAnswer
from shoal.wire.codec import decode_payload, read_json, skim_json
from shoal.wire.faults import fault_of
from shoal.wire.pipelines import PIPELINES, MediaField, Pipeline
from shoal.wire.references import names_of
from shoal.wire.words import Fault, JobSpec, Media, Payload

#: What an answer may have beyond its text, in which no token is shorter than a byte: the token that ends it, and those
#: of a stop word, which is cut off. Further tokens that say nothing are nobody's to pay.
UNSAID_TOKENS = 16

IN_PIECES = "the answer is not of its pipeline's form, or names a file that did not come with it"


# What comes in


def measure(field: MediaField, data: bytes, *, whole: bool = False) -> tuple[str, int]:
    """A file's media type and what it measures: ms of sound, pixels of a picture. Raises what is wrong with it.

    Who admits a file looks at the `whole` of it, and comes to the same number.
    """
    if len(data) > field.bytes_max:
        raise TooLarge(f"the file {field.field} has {len(data)} bytes; send at most {field.bytes_max}")
    if field.kind == "image":
        seen = picture.measure(data, field.pixels_max, whole=whole)
        return seen.content_type, seen.pixels
    heard = sound.measure(data, field.duration_max_ms)
    return heard.content_type, heard.duration_ms


def units_wanted(row: Pipeline, request: Struct, media: Sequence[Media]) -> int:
    """The most units that a request and its files can come to. Raises what is wrong with one of them."""
    if not row.media:
        return row.units_max(request, ())
    files = {file.field: file.data for file in media}
    unknown = files.keys() - {field.field for field in row.media}
    if unknown or len(files) < len(media):
        raise Refused(f"{row.name} takes no file named {', '.join(sorted(unknown))}, and none of them twice")
    measures = []
    for field in row.media:
        if field.field in files:
            measures.append(measure(field, files[field.field])[1])
        elif not field.optional:
            raise Refused(f"{row.name} wants the file {field.field}")
    return row.units_max(request, tuple(measures))


def objection(spec: JobSpec, body: bytes) -> Fault | None:
    """Why an order does not pay for the request in its body, or for none that there can be; None if it does.

    A body that is nothing at all passes: no runner reads it either.
    """
    row = PIPELINES[spec.pipeline]
    try:
        payload = decode_payload(body)
        request = read_json(row.request, payload.params)
        wanted = units_wanted(row, request, payload.media)
    except Untrusted:
        return None
    except Refused as error:
        return fault_of(error)
    if wanted > spec.units_max:
        why = f"this comes to {wanted} units, and the order pays for {spec.units_max} at most"
        return Fault(Refused.code, why)
    if spec.pieces_max and spec.pieces_max != row.pieces_max(request):
        why = f"this asks for {row.pieces_max(request)} pieces, and the order names {spec.pieces_max}"
        return Fault(Refused.code, why)
    return None


# What goes out


def worth(spec: JobSpec, pieces: int) -> int:
    """The most units that an answer can be worth: with so many pictures, or bytes of text."""
    if not spec.pieces_max:
        return spec.units_max
    if PIPELINES[spec.pipeline].answers:
        return spec.units_max * min(pieces, spec.pieces_max) // spec.pieces_max
    return spec.units_max - spec.pieces_max + min(pieces + UNSAID_TOKENS, spec.pieces_max)


def answer_worth(spec: JobSpec, answer: Payload) -> int:
    """The most units that this answer can be worth. Raises `Refused` or `Untrusted` if it is none."""
    if PIPELINES[spec.pipeline].answers:
        names = set(names_of(read_json(object, answer.params)))
        if not names <= {file.field for file in answer.media}:
            raise Untrusted(IN_PIECES)
        return worth(spec, len(names))
    if spec.pieces_max:
        said = [choice.message for choice in read_json(LlmAnswer, answer.params).choices]
        texts = (message.content + (message.reasoning_content or "") for message in said)
        return worth(spec, sum(len(text.encode()) for text in texts))
    skim_json(answer.params)
    return spec.units_max


def flaw(spec: JobSpec, units: int, answer: bytes) -> str:
    """Why these bytes cannot be the answer to an order, or not be worth so many units; "" if they can."""
    try:
        most = answer_worth(spec, decode_payload(answer))
    except (Refused, Untrusted):
        return IN_PIECES
    return overclaim(spec, units, most)


def overclaim(spec: JobSpec, units: int, most: int) -> str:
    """What is said of a claim that what came cannot be worth; "" of any other. Beyond the order nothing is paid."""
    if min(units, spec.units_max) <= most:
        return ""
    return f"{units} units are claimed for what is worth {most} at most"


class Extent:
    """How much text one attempt has given so far: in characters, and in bytes at most."""

    def __init__(self) -> None:
        self.characters = 0
        self.bytes = 0

    def bytes_with(self, offset: int, text: str) -> int:
        """How many bytes it has with this piece; of what was not heard no character has more than four."""
        new = text[max(0, self.characters - offset) :]
        return self.bytes + 4 * max(0, offset - self.characters) + len(new.encode())

    def take(self, offset: int, text: str) -> None:
        """This piece is a part of it."""
        self.bytes = self.bytes_with(offset, text)
        self.characters = max(self.characters, offset + len(text))
