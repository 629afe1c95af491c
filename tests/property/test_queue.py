"""The queue against a model that simulates every turn: order, fairness, position and bounds."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.errors import Busy
from shoal.ids import ClientId, JobId
from shoal.work.queue import FairQueue, Need

CLIENTS = [ClientId(name) for name in ("anna", "ben", "cleo")]
NEEDS: list[Need] = [("llm", "small"), ("llm", "large")]
JOBS_MAX = 8
PER_CLIENT_MAX = 4


class QueueMachine(RuleBasedStateMachine):
    """Jobs come, come back, are taken in their turn, or leave the line."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = FairQueue(jobs_max=JOBS_MAX, jobs_per_client_max=PER_CLIENT_MAX)
        #: For each need the clients' lines, the one whose turn is next in front.
        self.lines: dict[Need, list[tuple[ClientId, list[JobId]]]] = {need: [] for need in NEEDS}
        self.count = 0

    def jobs(self) -> list[JobId]:
        return [job for lines in self.lines.values() for _, line in lines for job in line]

    def of(self, client: ClientId) -> int:
        return sum(len(line) for lines in self.lines.values() for owner, line in lines if owner == client)

    @rule(client=st.sampled_from(CLIENTS), need=st.sampled_from(NEEDS), first=st.booleans())
    def push(self, client: ClientId, need: Need, first: bool) -> None:
        full = len(self.jobs()) >= JOBS_MAX or self.of(client) >= PER_CLIENT_MAX
        if full:
            with pytest.raises(Busy):
                self.queue.admit(client)
            return
        self.queue.admit(client)
        self.count += 1
        job = JobId(f"job {self.count}")
        self.queue.push(job, need, client, first=first)
        for owner, line in self.lines[need]:
            if owner == client:
                line.insert(0 if first else len(line), job)
                return
        self.lines[need].append((client, [job]))

    @rule(need=st.sampled_from(NEEDS))
    def take_the_next(self, need: Need) -> None:
        job = next(self.queue.waiting(need), None)
        lines = self.lines[need]
        if not lines:
            assert job is None
            return
        assert job == lines[0][1][0]
        self.leave(job)

    @precondition(lambda self: self.jobs())
    @rule(data=st.data())
    def leave_the_line(self, data: st.DataObject) -> None:
        self.leave(data.draw(st.sampled_from(self.jobs())))

    def leave(self, job: JobId) -> None:
        self.queue.remove(job)
        for lines in self.lines.values():
            for turn in list(lines):
                if job in turn[1]:
                    turn[1].remove(job)
                    lines.remove(turn)
                    if turn[1]:
                        lines.append(turn)

    @invariant()
    def the_queue_is_the_models(self) -> None:
        assert sorted(self.queue) == sorted(self.jobs())
        assert len(self.queue) == len(self.jobs())
        assert set(self.queue.needs()) == {need for need, lines in self.lines.items() if lines}
        for need in NEEDS:
            turns = [
                line[turn] for turn in range(JOBS_MAX) for _, line in self.lines[need] if turn < len(line)
            ]
            assert list(self.queue.waiting(need)) == turns
            assert [self.queue.position(job) for job in turns] == list(range(len(turns)))


TestQueue = QueueMachine.TestCase


def test_a_client_with_many_jobs_delays_another_by_one() -> None:
    queue = FairQueue(jobs_max=2_000, jobs_per_client_max=2_000)
    for n in range(1_000):
        queue.push(JobId(f"many {n}"), NEEDS[0], CLIENTS[0])
    queue.push(JobId("single"), NEEDS[0], CLIENTS[1])
    assert queue.position(JobId("single")) == 1
