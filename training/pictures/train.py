"""Train the picture model: `python -m pictures.train FOLDER`. May be killed at any time; started again it goes on.

Nothing depends on the clock, so that it may also be stopped for a while. It ends after --steps; a file called
`finish` in FOLDER lets it decay its pace over the next --decay steps and end earlier.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pictures.catalogue import SEED
from pictures.data import Batch, TrainingSet, prepare
from pictures.model import Painter, Shape
from pictures.orthogonal import Orthogonal

PACE = 2e-3
WARM_UP_STEPS = 100
DECAY_AVERAGE = 0.995
BATCH = 96
SAVE_STEPS = 50
TELL_STEPS = 20
BUSY_LOAD = 3.0
#: Times are drawn where the shape of a picture is decided: nearer to noise than to the picture.
TIME_MEAN, TIME_SPREAD = -0.7, 1.0
UNIFORM_SHARE = 0.1
#: The error in velocity is the error in the picture over what is left of the way, which is never less than this.
WAY_LEFT_MIN = 0.1


class Training:
    """All that goes on from one step to the next."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.threads = threads
        torch.set_num_threads(1)
        torch.manual_seed(SEED)
        self.folder = folder
        self.examples = TrainingSet(prepare(folder), Shape().side_px)
        self.painter = Painter(Shape()).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.painter).requires_grad_(requires_grad=False)
        weights = list(self.painter.parameters())
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Orthogonal((weight for weight in weights if weight.ndim > 1), PACE),
            torch.optim.Adam((weight for weight in weights if weight.ndim < 2), PACE, betas=(0.9, 0.99)),
        )
        self.step = 0
        self.finish_step = 0
        self.cpu_s = 0.0
        if (folder / "state.pt").exists():
            self._load(torch.load(folder / "state.pt", weights_only=True))

    def run(self, steps: int, decay: int) -> None:
        began_s, before_s, losses = time.process_time(), self.cpu_s, []
        while self.step < (self.finish_step or steps):
            if not self.finish_step and (self.folder / "finish").exists():
                self.finish_step = self.step + decay
            losses.append(self._advance(self._pace(self.finish_step or steps, decay)))
            self.cpu_s = before_s + time.process_time() - began_s
            if self.step % TELL_STEPS == 0:
                # On a busy computer two threads wait for each other more than they gain.
                torch.set_num_threads(1 if os.getloadavg()[0] > BUSY_LOAD else self.threads)
                told = f"step {self.step} loss {np.mean(losses):.4f} cpu {self.cpu_s:.0f} s"
                print(f"{time.strftime('%H:%M:%S')} {told}", flush=True)
                losses.clear()
            if self.step % SAVE_STEPS == 0:
                self.save()
        self.save()

    def _pace(self, end: int, decay: int) -> float:
        return PACE * min(1.0, (self.step + 1) / WARM_UP_STEPS, max(0.0, (end - self.step) / decay))

    def _advance(self, pace: float) -> float:
        chance = np.random.default_rng((SEED, self.step))
        batch = self.examples.draw(BATCH, chance)
        loss = self._loss(batch, chance)
        self.painter.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = pace
            optimizer.step()
        self.step += 1
        share = min(DECAY_AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.painter.parameters(), strict=True):
                mean.lerp_(now, 1 - share)
        return float(loss.detach())

    def _loss(self, batch: Batch, chance: np.random.Generator) -> Tensor:
        size = len(batch.pictures)
        drawn = 1 / (1 + np.exp(-chance.normal(TIME_MEAN, TIME_SPREAD, size)))
        drawn = np.where(chance.random(size) < UNIFORM_SHARE, chance.random(size), drawn)
        time_ = torch.from_numpy(drawn.astype(np.float32))
        noise = torch.from_numpy(chance.standard_normal(batch.pictures.shape, np.float32))
        along = time_[:, None, None, None]
        noised = along * batch.pictures + (1 - along) * noise
        noised = noised.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            painted = self.painter(noised, time_, batch.words, batch.mask)
        wrong = (painted.float() - batch.pictures) / (1 - along).clamp(min=WAY_LEFT_MIN)
        return wrong.square().mean()

    def save(self) -> None:
        part = self.folder / "state.part"
        torch.save(
            {
                "painter": self.painter.state_dict(),
                "average": self.average.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "finish_step": self.finish_step,
                "cpu_s": self.cpu_s,
            },
            part,
        )
        part.replace(self.folder / "state.pt")

    def _load(self, held: dict[str, Any]) -> None:
        self.painter.load_state_dict(held["painter"])
        self.average.load_state_dict(held["average"])
        for optimizer, state in zip(self.optimizers, held["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.finish_step, self.cpu_s = held["step"], held["finish_step"], held["cpu_s"]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--steps", type=int, default=20_000)
    arguments.add_argument("--decay", type=int, default=500)
    arguments.add_argument("--threads", type=int, default=2)
    given = arguments.parse_args()
    Training(given.folder, given.threads).run(given.steps, given.decay)
