"""What a picture shows, as one of ImageNet's 1,000 classes: a probability, and words for it."""

from __future__ import annotations

import json
from pathlib import Path

from shoal.worker.pipelines.efficientnet import EfficientNet
from shoal.worker.pipelines.network import Floats
from shoal.worker.pipelines.picture import Pixels

WEIGHTS, NAMES = "efficientnet-lite2.pth", "imagenet1k_label_to_names.json"
#: Classes that stand beside one another in ImageNet and are one thing to most people: first, after the last, name.
KINDS = (
    (0, 7, "fish"),
    (7, 25, "bird"),
    (25, 30, "salamander"),
    (30, 33, "frog"),
    (33, 38, "turtle"),
    (38, 52, "lizard"),
    (52, 69, "snake"),
    (72, 78, "spider"),
    (80, 101, "bird"),
    (118, 122, "crab"),
    (127, 147, "bird"),
    (151, 269, "dog"),
    (281, 286, "cat"),
    (286, 294, "big cat"),
    (294, 298, "bear"),
    (300, 308, "beetle"),
    (321, 327, "butterfly"),
    (330, 333, "rabbit"),
    (365, 385, "monkey or ape"),
    (389, 398, "fish"),
    (991, 997, "mushroom"),
)
#: How sure the tagger must be to say "probably", and to say anything.
PROBABLY, PERHAPS = 0.4, 0.15


class Tagger:
    """A network and the names of what it knows."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        self._network = EfficientNet(model_dir / WEIGHTS, threads, "classify")
        names = json.loads((model_dir / NAMES).read_bytes())
        self._names = [names[str(number)].partition(",")[0] for number in range(len(names))]

    def describe(self, pixels: Pixels) -> str:
        """One sentence, as sure as the network is; "" when it is not."""
        chances = self._network.classify(pixels)
        kind, likely = kind_of(chances)
        first, second = (int(number) for number in chances.argsort()[::-1][:2])
        if kind and likely >= PROBABLY:
            return (
                f"Probably {with_article(kind)} ({percent(likely)}), most like {self._said(chances, first)}."
            )
        if chances[first] >= PROBABLY:
            return f"Probably {self._said(chances, first)}."
        if chances[second] >= PERHAPS:
            return f"Perhaps {self._said(chances, first)} or {self._said(chances, second)}."
        return f"Perhaps {self._said(chances, first)}." if chances[first] >= PERHAPS else ""

    def _said(self, chances: Floats, number: int) -> str:
        return f"{with_article(self._names[number])} ({percent(float(chances[number]))})"


def kind_of(chances: Floats) -> tuple[str, float]:
    """The likeliest of the kinds, all its classes taken together."""
    totals: dict[str, float] = {}
    for first, end, name in KINDS:
        totals[name] = totals.get(name, 0.0) + float(chances[first:end].sum())
    return max(totals.items(), key=lambda item: item[1])


def with_article(name: str) -> str:
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def percent(share: float) -> str:
    return f"{share * 100:.0f} %"
