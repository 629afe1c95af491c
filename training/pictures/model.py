"""The network that paints: a small U-Net told the time and the words, which answers with the finished picture.

It sees 32 px as 8x8 blocks of 4x4, does half of its work on 4x4, and reads words twice: their mean steers every
block, and in the middle each place may look at each word. No words at all is a valid question: that is what
guidance compares with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """How large the network is."""

    side_px: int = 32
    patch_px: int = 4
    wide: int = 128
    deep: int = 192
    blocks: int = 2
    middle_blocks: int = 4
    steering: int = 256
    words: int = 384
    head: int = 64
    rates: int = 64
    fine: int = 32


class Steered(nn.Module):
    """Two convolutions around which the steering scales and shifts, and a way past them."""

    def __init__(self, wide_in: int, wide: int, steering: int) -> None:
        super().__init__()
        self.before = nn.GroupNorm(8, wide_in)
        self.first = nn.Conv2d(wide_in, wide, 3, padding=1)
        self.between = nn.GroupNorm(8, wide)
        self.second = nn.Conv2d(wide, wide, 3, padding=1)
        self.steer = nn.Linear(steering, 2 * wide)
        self.past = nn.Conv2d(wide_in, wide, 1) if wide_in != wide else nn.Identity()
        nn.init.zeros_(self.second.weight)

    def forward(self, image: Tensor, steering: Tensor) -> Tensor:
        scale, shift = self.steer(steering)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(self.before(image)))
        inner = self.between(inner) * (1 + scale) + shift
        out: Tensor = self.past(image) + self.second(functional.silu(inner))
        return out


class Looking(nn.Module):
    """Every place looks at every other place and at every word."""

    def __init__(self, wide: int, words: int, head: int) -> None:
        super().__init__()
        self.heads = wide // head
        self.norm = nn.GroupNorm(8, wide)
        self.ask = nn.Linear(wide, 3 * wide)
        self.read = nn.Linear(words, 2 * wide)
        self.out = nn.Linear(wide, wide)
        nn.init.zeros_(self.out.weight)

    def forward(self, image: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        batch, wide, height, width = image.shape
        places = self.norm(image).flatten(2).transpose(1, 2)
        asked, key, value = self.ask(places).chunk(3, dim=2)
        word_key, word_value = self.read(words).chunk(2, dim=2)
        asked, key, value = (
            part.reshape(batch, -1, self.heads, wide // self.heads).transpose(1, 2)
            for part in (asked, torch.cat((key, word_key), 1), torch.cat((value, word_value), 1))
        )
        seen = torch.cat((torch.ones(batch, height * width, device=mask.device, dtype=mask.dtype), mask), 1)
        scores = asked @ key.transpose(2, 3) / math.sqrt(wide // self.heads)
        scores = scores + (seen[:, None, None, :] - 1) * 1e4
        looked = (scores.softmax(3) @ value).transpose(1, 2).reshape(batch, -1, wide)
        return image + self.out(looked).transpose(1, 2).reshape(batch, wide, height, width)


class Painter(nn.Module):
    """From a noised picture, how noised it is, and words: the picture without noise."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        wide, deep, steering = shape.wide, shape.deep, shape.steering
        channels = 3 * shape.patch_px**2
        self.time = nn.Sequential(
            nn.Linear(2 * shape.rates, steering), nn.SiLU(), nn.Linear(steering, steering)
        )
        self.meaning = nn.Linear(shape.words, steering)
        self.enter = nn.Conv2d(channels, wide, 3, padding=1)
        self.down = nn.ModuleList(Steered(wide, wide, steering) for _ in range(shape.blocks))
        self.shrink = nn.Conv2d(wide, deep, 2, stride=2)
        self.middle = nn.ModuleList(Steered(deep, deep, steering) for _ in range(shape.middle_blocks))
        self.looks = nn.ModuleList(Looking(deep, shape.words, shape.head) for _ in range(shape.middle_blocks))
        self.grow = nn.ConvTranspose2d(deep, wide, 2, stride=2)
        self.up = nn.ModuleList(Steered(2 * wide, wide, steering) for _ in range(shape.blocks))
        self.leave = nn.Sequential(nn.GroupNorm(8, wide), nn.SiLU(), nn.Conv2d(wide, channels, 3, padding=1))
        self.polish = nn.Sequential(
            nn.Conv2d(6, shape.fine, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(shape.fine, shape.fine, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(shape.fine, 3, 3, padding=1),
        )
        nn.init.zeros_(self.polish[-1].weight)
        self.register_buffer(
            "rates", torch.exp(torch.linspace(0, math.log(1000), shape.rates)), persistent=False
        )

    def forward(self, image: Tensor, time: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """`image` N,3,S,S in -1..1 with noise; `time` N, 0 all noise to 1 none; `words` N,T,W; `mask` N,T."""
        steering = self._steering(time, words, mask)
        inner = self.enter(functional.pixel_unshuffle(image, self.shape.patch_px))
        kept = [inner]
        for block in self.down:
            inner = block(inner, steering)
            kept.append(inner)
        inner = self.shrink(inner)
        for block, look in zip(self.middle, self.looks, strict=True):
            inner = look(block(inner, steering), words, mask)
        inner = self.grow(inner)
        for block in self.up:
            inner = block(torch.cat((inner, kept.pop()), 1), steering)
        rough = functional.pixel_shuffle(self.leave(inner), self.shape.patch_px)
        # Blocks meet in seams; a last look at single pixels takes them away.
        polished: Tensor = rough + self.polish(torch.cat((rough, image), 1))
        return polished

    def _steering(self, time: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """What every block is told: the time, and the mean of the words at a fixed length."""
        turns = time[:, None] * self.rates[None, :]
        mean = (words * mask[:, :, None]).sum(1)
        mean = mean / mean.square().sum(1, keepdim=True).add(1e-6).sqrt() * math.sqrt(self.shape.words)
        return functional.silu(self.time(torch.cat((turns.sin(), turns.cos()), 1)) + self.meaning(mean))
