"""Framing: every message arrives whole, in turns, within limits, however its bytes are split."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Untrusted
from shoal.runtime.frames import (
    CUT_BYTES,
    FRAME_BYTES_MAX,
    HEADER,
    MESSAGE_BYTES_MAX,
    PING,
    FrameReader,
    FrameWriter,
    Kind,
    frame,
)


def reader(
    frame_bytes_max: int = 64, message_bytes_max: int = 256, open_messages_max: int = 2
) -> FrameReader:
    return FrameReader(frame_bytes_max, message_bytes_max, open_messages_max)


def read(data: bytes, within: FrameReader | None = None) -> list[tuple[int, bytes]]:
    return [(kind, bytes(body)) for kind, body in (within or reader()).feed(data)]


def messages(data: bytes, within: FrameReader) -> list[bytes]:
    return [body for kind, body in read(data, within) if kind == Kind.WHOLE]


def everything(writer: FrameWriter) -> list[bytes]:
    taken = []
    while writer:
        taken.append(writer.take())
    return taken


def test_a_frame_in_bytes() -> None:
    assert frame(Kind.WHOLE, 0, b"hi").hex() == "0000000200000000006869"
    assert frame(Kind.PART, 7, b"hi").hex() == "0000000201000000076869"
    assert frame(Kind.LAST, 7, b"hi").hex() == "0000000202000000076869"
    assert PING.hex() == "000000000300000000"
    assert frame(Kind.FAREWELL, 0, b"hi").hex() == "0000000204000000006869"


def test_the_limits_that_both_sides_know() -> None:
    assert (CUT_BYTES, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX) == (262_144, 1_048_576, 268_435_456)


def test_small_messages_leave_together() -> None:
    writer = FrameWriter()
    for message in (b"one", b"two"):
        writer.add(message)
    assert writer.take() == frame(Kind.WHOLE, 0, b"one") + frame(Kind.WHOLE, 0, b"two")
    assert not writer
    assert writer.take() == b""


def test_a_heartbeat_overtakes_a_large_answer() -> None:
    writer = FrameWriter()
    writer.add(bytes(100 * CUT_BYTES))
    assert len(writer.take()) == HEADER.size + CUT_BYTES
    writer.add(b"heartbeat")
    taken = writer.take()
    assert taken.startswith(frame(Kind.WHOLE, 0, b"heartbeat"))
    assert len(taken) == len(frame(Kind.WHOLE, 0, b"heartbeat")) + HEADER.size + CUT_BYTES


def test_large_messages_take_turns() -> None:
    writer = FrameWriter(cut_bytes=2)
    writer.add(b"aaaaaa")
    writer.add(b"bbb")
    assert everything(writer) == [
        frame(Kind.PART, 1, b"aa"),
        frame(Kind.PART, 2, b"bb"),
        frame(Kind.PART, 1, b"aa"),
        frame(Kind.LAST, 2, b"b"),
        frame(Kind.LAST, 1, b"aa"),
    ]


def test_one_that_is_as_large_as_a_frame_is_not_cut() -> None:
    writer = FrameWriter(cut_bytes=4)
    writer.add(b"four")
    assert writer.take() == frame(Kind.WHOLE, 0, b"four")


def test_a_farewell_takes_the_place_of_large_messages() -> None:
    writer = FrameWriter(cut_bytes=2)
    writer.add(b"large")
    writer.take()
    writer.add(b"s")
    writer.add(b"large")
    writer.add_farewell(b"bye")
    assert everything(writer) == [frame(Kind.WHOLE, 0, b"s") + frame(Kind.FAREWELL, 0, b"bye")]
    assert writer.pending_bytes == 0


def test_a_large_message_that_is_under_way_is_not_sent_twice() -> None:
    writer = FrameWriter(cut_bytes=2)
    writer.add(b"large")
    writer.add(b"other")
    writer.add(b"large")
    taken = writer.take()
    writer.add(b"large")
    assert messages(taken + b"".join(everything(writer)), reader()) == [b"large", b"other"]
    writer.add(b"large")
    assert messages(b"".join(everything(writer)), reader()) == [b"large"]


def test_what_waits_is_counted() -> None:
    writer = FrameWriter(cut_bytes=2)
    writer.add(b"s")
    writer.add(b"large")
    assert writer.pending_bytes == 6
    writer.take()
    assert writer.pending_bytes == 3
    everything(writer)
    assert writer.pending_bytes == 0


@pytest.mark.parametrize("message", [b"", bytes(11)])
def test_what_no_other_side_would_take_is_not_queued(message: bytes) -> None:
    with pytest.raises(ValueError, match="1 to 10 bytes"):
        FrameWriter(message_bytes_max=10).add(message)


def test_a_writer_stays_within_the_reader_s_limits() -> None:
    writer = FrameWriter(message_bytes_max=10, open_messages_max=2, cut_bytes=2)
    sent = [b"aaaaaaaaaa", b"bbbbbb", b"cccc", b"dddd"]
    for message in sent:
        writer.add(message)
    within = reader(frame_bytes_max=2, message_bytes_max=10, open_messages_max=2)
    got = [message for taken in everything(writer) for message in messages(taken, within)]
    assert sorted(got) == sorted(sent)


#: Each is unlike the others: a large one that is said again while it is under way is sent once.
MESSAGES = st.lists(st.binary(min_size=1, max_size=40), max_size=20, unique=True)


@given(MESSAGES, st.data())
def test_all_messages_arrive_however_the_bytes_are_split(sent: list[bytes], data: st.DataObject) -> None:
    writer = FrameWriter(message_bytes_max=64, open_messages_max=3, cut_bytes=8)
    stream = b""
    for message in sent:
        writer.add(message)
        if data.draw(st.booleans(), "take between"):
            stream += writer.take()
        if data.draw(st.booleans(), "ping between"):
            writer.add_ping()
    stream += b"".join(everything(writer))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12), "cuts"))
    within = reader(frame_bytes_max=8, message_bytes_max=64, open_messages_max=3)
    got = [
        message
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in messages(stream[start:end], within)
    ]
    assert sorted(got) == sorted(sent)
    small = [message for message in sent if len(message) <= 8]
    assert [message for message in got if len(message) <= 8] == small, "small messages keep their order"


def test_a_message_arrives_with_its_last_byte_and_no_later() -> None:
    within = reader()
    stream = frame(Kind.PART, 1, b"whole ") + PING + frame(Kind.LAST, 1, b"message")
    got = [read(stream[place : place + 1], within) for place in range(len(stream))]
    assert got == [[]] * (len(stream) - 1) + [[(Kind.WHOLE, b"whole message")]]


def test_a_limit_set_after_one_message_holds_for_the_next() -> None:
    within = reader(frame_bytes_max=4, message_bytes_max=4)
    arriving = within.feed(frame(Kind.WHOLE, 0, b"ok") + frame(Kind.WHOLE, 0, bytes(64)))
    assert bytes(next(arriving)[1]) == b"ok"
    within.limit(64, 64, 0)
    assert bytes(next(arriving)[1]) == bytes(64)


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        (HEADER.pack(65, Kind.WHOLE, 0), "frame of 65 bytes"),
        (HEADER.pack(65, Kind.PART, 1), "frame of 65 bytes"),
        (HEADER.pack(65, Kind.FAREWELL, 1), "frame of 65 bytes"),
        (HEADER.pack(0xFFFFFFFF, Kind.LAST, 1), "frame of 4294967295 bytes"),
        (HEADER.pack(0, Kind.WHOLE, 0), "carries nothing"),
        (HEADER.pack(0, Kind.PART, 1), "carries nothing"),
        (HEADER.pack(1, Kind.PING, 0), "ping carries something"),
        (HEADER.pack(1, 5, 0), "no frame of kind 5"),
        (HEADER.pack(1, 255, 0), "no frame of kind 255"),
        (b"".join(frame(Kind.PART, number, b"x") for number in (1, 2, 3)), "more than 2 messages"),
        (frame(Kind.PART, 1, bytes(64)) * 4 + frame(Kind.LAST, 1, b"x"), "over the limit of 256 bytes"),
        (
            frame(Kind.PART, 1, bytes(64)) * 2
            + frame(Kind.PART, 2, bytes(64)) * 2
            + frame(Kind.LAST, 2, b"x"),
            "over the limit of 256 bytes",
        ),
    ],
)
def test_every_limit(stream: bytes, complaint: str) -> None:
    with pytest.raises(Untrusted, match=complaint):
        read(stream)


def test_a_whole_message_has_a_limit_of_its_own() -> None:
    with pytest.raises(Untrusted, match="over the limit of 8 bytes"):
        read(HEADER.pack(9, Kind.WHOLE, 0), reader(message_bytes_max=8))


def test_up_to_the_limits_all_is_well() -> None:
    assert read(frame(Kind.WHOLE, 0, bytes(64))) == [(Kind.WHOLE, bytes(64))]
    stream = (
        frame(Kind.PART, 1, bytes(64)) * 2 + frame(Kind.PART, 2, bytes(64)) + frame(Kind.LAST, 2, bytes(64))
    )
    assert read(stream) == [(Kind.WHOLE, bytes(128))]


def test_a_finished_message_makes_room_for_another() -> None:
    within = reader()
    for number in range(9):
        stream = frame(Kind.PART, number, bytes(64)) * 3 + frame(Kind.LAST, number, bytes(64))
        assert read(stream, within) == [(Kind.WHOLE, bytes(256))]


def test_a_farewell_is_told_from_a_message() -> None:
    assert read(frame(Kind.FAREWELL, 0, b"bye")) == [(Kind.FAREWELL, b"bye")]


HEADERS = st.builds(HEADER.pack, st.integers(0, 80), st.integers(0, 6), st.integers(0, 4))


@given(st.lists(st.one_of(HEADERS, st.binary(max_size=80)), max_size=30))
def test_any_bytes_give_messages_or_distrust_and_bounded_memory(pieces: Sequence[bytes]) -> None:
    within = reader()
    try:
        for piece in pieces:
            for _kind, body in within.feed(piece):
                assert 0 < len(body) <= 256
            assert len(within._rest) < HEADER.size + 64
            assert sum(map(len, within._open.values())) == within._open_bytes <= 256
            assert len(within._open) <= 2
    except Untrusted:
        pass


@given(st.lists(st.integers(2, 8), max_size=30), st.integers(1, 4))
def test_no_more_messages_are_begun_than_may_be_open(sizes: list[int], open_messages_max: int) -> None:
    writer = FrameWriter(8, open_messages_max, cut_bytes=1)
    for number, size in enumerate(sizes):
        writer.add(bytes([number]) * size)
    within = reader(1, 8, open_messages_max)
    assert sum(len(messages(taken, within)) for taken in everything(writer)) == len(sizes)
