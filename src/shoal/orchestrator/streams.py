"""Streams on their way to gateways, and what these have acknowledged: that is owed, and outlives us.

An acknowledgement lasts before anything follows from it, so what a gateway can
have beyond that is bounded at every moment, our death included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from shoal.ids import NodeId
from shoal.machine import Send, Value
from shoal.orchestrator.receipts import Receipts
from shoal.orchestrator.relay import Relay
from shoal.units import Instant
from shoal.wire import words
from shoal.work.stream import stride
from shoal.work.task import LEASED, Acknowledged, Task, task_id


class Streams(Receipts):
    """The books, and what passes through."""

    def relay(self, task: Task) -> Relay:
        """The way of a running attempt's news."""
        relay = self._relays.get(task.id)
        if relay is None:
            relay = self._relays[task.id] = Relay(self.rules.window_units_max, task.acknowledged)
        return relay

    def _hear_acknowledge(self, peer: NodeId, word: words.Acknowledge, now: Instant) -> None:
        task = self.tasks.get(task_id(word.job, word.epoch))
        if task is None or task.lease.gateway != peer or task.phase is not LEASED:
            return
        # Smaller steps keep no piece waiting: they are not worth a fact.
        if not task.lease.spec.stream or word.units - task.acknowledged < stride(self.rules.window_units_max):
            return
        self.decide(Acknowledged(word.job, word.epoch, word.units), now)
        for progress in self.relay(task).acknowledge(word.units):
            self.emit(Send(peer, progress))

    stream_words: ClassVar[Mapping[type[Value], Callable[..., None]]] = {
        words.Acknowledge: _hear_acknowledge,
    }
