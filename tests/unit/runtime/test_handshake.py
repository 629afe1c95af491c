"""The handshake without a network: who is believed, and who is not."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import Refused, ShoalError, Untrusted
from shoal.ids import NodeId
from shoal.runtime.handshake import (
    VERSION,
    Admit,
    Farewell,
    Handshake,
    Hello,
    Proof,
    Side,
    decode_farewell,
    encode,
    encode_farewell,
    transcript,
)
from shoal.runtime.keys import NodeKey

WORKER = NodeKey((1).to_bytes(32))
ORCHESTRATOR = NodeKey((2).to_bytes(32))
MALLORY = NodeKey((3).to_bytes(32))
CERTIFICATE = bytes(range(32))


def hello(
    key: NodeKey, *, role: str = "worker", nonce: bytes = b"\x00" * 32, version: int = VERSION
) -> Hello:
    return Hello(version, role, key.id, "boot", nonce)


def dialler(
    key: NodeKey = WORKER,
    *,
    said: Hello | None = None,
    certificate: bytes = CERTIFICATE,
    expect: NodeId | None = None,
    admit: Admit | None = None,
) -> Handshake:
    said = said or hello(key)
    return Handshake(Side.DIALLER, key, said, certificate=certificate, expect=expect, admit=admit)


def listener(
    key: NodeKey = ORCHESTRATOR,
    *,
    said: Hello | None = None,
    certificate: bytes = CERTIFICATE,
    admit: Admit | None = None,
) -> Handshake:
    said = said or hello(key, role="orchestrator")
    return Handshake(Side.LISTENER, key, said, certificate=certificate, admit=admit)


def said(message: bytes | None) -> bytes:
    assert message is not None
    return message


def meet(one: Handshake, other: Handshake) -> None:
    """Carry what each says to the other until there is nothing to say."""
    message, turn, next_turn = one.begin(), other, one
    while message is not None:
        message = turn.receive(message)
        turn, next_turn = next_turn, turn


def test_a_greeting_in_bytes() -> None:
    assert encode(Hello(1, "worker", WORKER.id, "boot", bytes(32))) == (
        b"\x96\xa5Hello\x01\xa6worker\xd9*" + WORKER.id.encode() + b"\xa4boot\xc4\x20" + bytes(32)
    )
    assert encode(Proof(bytes(65))) == b"\x92\xa5Proof\xc4\x41" + bytes(65)
    assert encode_farewell(Farewell("busy", "later")) == b"\x93\xa8Farewell\xa4busy\xa5later"


def test_the_transcript_in_bytes() -> None:
    assert transcript(Side.DIALLER, b"a", b"b", CERTIFICATE) == (
        b"shoal handshake 1\ndialler\n"
        + hashlib.sha256(b"a").digest()
        + hashlib.sha256(b"b").digest()
        + CERTIFICATE
    )
    assert transcript(Side.LISTENER, b"a", b"b", CERTIFICATE).startswith(b"shoal handshake 1\nlistener\n")
    assert (
        hashlib.sha256(transcript(Side.LISTENER, b"a", b"b", CERTIFICATE)).hexdigest()
        == "f7e37b44f7e0a9af2524d966c05add164c2392b9364bb05100b4b9be583fb7d7"
    )


def test_two_nodes_meet() -> None:
    one, other = dialler(expect=ORCHESTRATOR.id), listener()
    meet(one, other)
    assert one.peer == hello(ORCHESTRATOR, role="orchestrator")
    assert other.peer == hello(WORKER)


def test_nobody_is_believed_before_the_proof() -> None:
    one, other = dialler(), listener()
    believed = []
    message = said(one.begin())
    for turn in (other, one, other):
        message = said(turn.receive(message))
        believed.append((one.peer is not None, other.peer is not None))
    assert one.receive(message) is None
    assert believed == [(False, False), (False, False), (False, True)]
    assert one.peer is not None


def test_the_listener_does_not_speak_first() -> None:
    assert listener().begin() is None


def test_another_certificate_is_a_man_in_the_middle() -> None:
    with pytest.raises(Untrusted, match=f"has not proved that it is {WORKER.id}"):
        meet(dialler(certificate=bytes(32)), listener())


def test_a_listener_s_proof_for_another_certificate_is_not_believed() -> None:
    one, other = dialler(), listener(certificate=bytes(32))
    theirs = said(other.receive(said(one.begin())))
    proof = encode(Proof(WORKER.sign(transcript(Side.DIALLER, said(one.begin()), theirs, bytes(32)))))
    one.receive(theirs)
    with pytest.raises(Untrusted, match=f"has not proved that it is {ORCHESTRATOR.id}"):
        one.receive(said(other.receive(proof)))


def test_somebody_else_s_id_is_not_believed() -> None:
    with pytest.raises(Untrusted, match=f"has not proved that it is {WORKER.id}"):
        meet(dialler(MALLORY, said=hello(WORKER)), listener())
    with pytest.raises(Untrusted, match=f"has not proved that it is {ORCHESTRATOR.id}"):
        meet(dialler(), listener(MALLORY, said=hello(ORCHESTRATOR)))


def test_a_pinned_id_must_be_there() -> None:
    with pytest.raises(Untrusted, match=f"says it is {MALLORY.id}, expected {ORCHESTRATOR.id}"):
        meet(dialler(expect=ORCHESTRATOR.id), listener(MALLORY))


def test_a_recorded_handshake_is_worth_nothing_later() -> None:
    one, other = dialler(), listener()
    recorded_hello = said(one.begin())
    recorded_proof = said(one.receive(said(other.receive(recorded_hello))))
    later = listener(said=hello(ORCHESTRATOR, role="orchestrator", nonce=b"\x01" * 32))
    later.receive(recorded_hello)
    with pytest.raises(Untrusted, match="has not proved"):
        later.receive(recorded_proof)


def test_one_s_own_proof_sent_back_is_worth_nothing() -> None:
    mirror = dialler()
    theirs = hello(ORCHESTRATOR, role="orchestrator")
    proof = said(mirror.receive(encode(theirs)))
    with pytest.raises(Untrusted, match=f"has not proved that it is {ORCHESTRATOR.id}"):
        mirror.receive(proof)


def test_two_nodes_with_one_key_are_refused() -> None:
    with pytest.raises(Refused, match="this node's own key"):
        meet(dialler(ORCHESTRATOR), listener())


def test_another_version_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=f"version {VERSION - 1} of this protocol, we {VERSION}"):
        meet(dialler(said=hello(WORKER, version=VERSION - 1)), listener())


def test_admission_is_asked_once_the_id_is_proved() -> None:
    asked: list[tuple[NodeId, str]] = []

    def admit(node: NodeId, role: str) -> bool:
        asked.append((node, role))
        return True

    with pytest.raises(Untrusted):
        meet(dialler(MALLORY, said=hello(WORKER)), listener(admit=admit))
    assert asked == []
    meet(dialler(), listener(admit=admit))
    assert asked == [(WORKER.id, "worker")]


def test_who_is_not_admitted_is_refused() -> None:
    with pytest.raises(Refused, match=f"{WORKER.id} is not admitted here as worker"):
        meet(dialler(), listener(admit=lambda node, role: role == "gateway"))
    with pytest.raises(Refused, match=f"{ORCHESTRATOR.id} is not admitted here as orchestrator"):
        meet(dialler(admit=lambda node, role: False), listener())


def test_a_pinned_node_needs_no_admission() -> None:
    one = dialler(expect=ORCHESTRATOR.id, admit=lambda node, role: False)
    meet(one, listener())
    assert one.peer is not None


@pytest.mark.parametrize(
    "messages",
    [
        [encode(Proof(bytes(65)))],
        [encode(hello(WORKER)), encode(hello(WORKER))],
        [encode(hello(WORKER)), encode(Proof(bytes(65)))],
        [encode(hello(WORKER, role="Worker"))],
        [encode(hello(WORKER, role="worker\n"))],
        [encode(hello(WORKER, role=""))],
        [encode(hello(WORKER, nonce=bytes(31)))],
        [encode(Hello(VERSION, "worker", "0x" + "A" * 40, "boot", bytes(32)))],
        [encode(Hello(VERSION, "worker", WORKER.id, "b" * 65, bytes(32)))],
        [encode(Proof(bytes(64)))],
        [b""],
        [b"GET / HTTP/1.1"],
        [b"\x91" * 2000],
    ],
)
def test_what_breaks_the_rules_is_untrusted(messages: list[bytes]) -> None:
    other = listener()
    for message in messages[:-1]:
        other.receive(message)
    with pytest.raises(Untrusted):
        other.receive(messages[-1])
    assert other.peer is None


@given(st.lists(st.binary(max_size=120), max_size=4))
def test_no_bytes_are_believed(messages: list[bytes]) -> None:
    other = listener()
    try:
        for message in messages:
            other.receive(message)
    except ShoalError:
        pass
    assert other.peer is None


@given(st.data())
def test_a_changed_message_is_never_believed(data: st.DataObject) -> None:
    """Whatever is changed on the way, the two do not take each other for somebody who said that."""
    one, other = dialler(), listener()
    message, turn, next_turn = said(one.begin()), other, one
    changed = data.draw(st.integers(0, 3), "message to change")
    try:
        for number in range(4):
            if number == changed:
                place = data.draw(st.integers(0, len(message) - 1), "place")
                change = data.draw(st.integers(1, 255), "change")
                message = message[:place] + bytes([message[place] ^ change]) + message[place + 1 :]
            answer = turn.receive(message)
            if answer is None:
                break
            message, turn, next_turn = answer, next_turn, turn
    except ShoalError:
        pass
    assert one.peer is None


def test_a_farewell_has_limits() -> None:
    assert decode_farewell(encode_farewell(Farewell("busy", "later"))) == Farewell("busy", "later")
    with pytest.raises(Untrusted):
        decode_farewell(encode_farewell(Farewell("busy", "x" * 301)))
