"""However it is written, snapshotted and opened again, a journal replays exactly what was appended."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from journals import (
    LATER,
    NOW,
    Desk,
    Fact,
    replayed,
)
from shoal.ids import digest
from shoal.runtime import blockstore
from shoal.runtime.history import read_history
from shoal.runtime.journal import Config
from shoal.units import Instant

BODIES = [b"", b"a", b"b" * 300, b"c" * 5000, b"d" * 70_000]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=40)),
        st.tuples(st.just("keep"), st.sampled_from(BODIES)),
        st.sampled_from([("snapshot", b""), ("turn", b""), ("settle", b""), ("reopen", b"")]),
    ),
    max_size=40,
)


async def _walk(folder: Path, steps: list[tuple[str, bytes]], config: Config) -> None:
    path, facts, covered, kept = folder / "journal.db", list[Fact](), 0, set[bytes]()
    desk = Desk(path, config)
    for place, (step, content) in enumerate(steps):
        if step == "append":
            facts.append((Instant(NOW + place), content))
            assert desk.journal.append(*facts[-1]) == len(facts)
        elif step == "keep":
            desk.journal.keep(digest(content), content, LATER)
            kept.add(content)
        elif step == "snapshot":
            desk.journal.snapshot(b"state of %d" % len(facts))
            covered = len(facts)
        elif step == "turn":
            await asyncio.sleep(0)
        else:
            await desk.settle()
        if step == "reopen":
            desk.journal.close()
            desk = Desk(path, config)
        state, rest = desk.journal.replay()
        on_disk = list(rest)
        first = 0 if state is None else int(state.split()[-1])
        assert facts[first : first + len(on_disk)] == on_disk
        assert first + len(on_disk) >= desk.journal.durable
        assert all(desk.journal.body(digest(body)) == body for body in kept)
    desk.journal.close()
    assert replayed(path) == (
        b"state of %d" % covered if ("snapshot", b"") in steps else None,
        facts[covered:],
    )
    with read_history(path) as history:
        kept_from = 0 if config.keep_history else covered
        assert [(at, fact) for _, at, fact in history] == facts[kept_from:]


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    config=st.sampled_from(
        [
            Config(),
            Config(keep_history=True),
            Config(commit_bytes_max=1, checkpoint_bytes=1, bodies=blockstore.Config(packed_bytes_max=256)),
            Config(bodies=blockstore.Config(recent_bytes_max=0)),
        ]
    ),
)
def test_any_interleaving_replays_exactly_what_was_appended(
    steps: list[tuple[str, bytes]], config: Config
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_walk(Path(folder), steps, config))
