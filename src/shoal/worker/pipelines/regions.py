"""A picture as a tree of regions: some thousand patches, and what becomes of them when the most alike are joined.

What is alike is judged by colour, by the edge between two patches, and by what an image classifier notices in them.
The same picture always gives the same tree.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from shoal.worker.pipelines.network import Floats
from shoal.worker.pipelines.picture import Pixels

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]

PATCHES = 1200
PATCH_SIDE_MIN_PX = 5
#: The coarseness of edges that count, as the spread of a blur.
BLURS = (1.0, 2.0)
#: How many dimensions are kept of what a classifier notices, and how much they weigh beside colour (in CIE Lab).
NOTICED_DIMENSIONS, NOTICED_WEIGHT = 8, 60.0
#: How much being unlike inside weighs beside the edge between, and how strongly the small are joined first.
UNLIKE_WEIGHT, SMALL_FIRST = 0.2, 0.3


class Edges(NamedTuple):
    """Pairs of patches that touch: which, along how many pixels, and how strong the edge between them is."""

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    strength: Doubles


class Tree(NamedTuple):
    """Which region each region becomes part of, and how unlike the parts were; patches come first, the whole last."""

    parent: npt.NDArray[np.int64]
    height: Doubles

    def ancestry(self, region: int) -> list[int]:
        """A region and all that contain it, growing."""
        chain = [region]
        while self.parent[chain[-1]] >= 0:
            chain.append(int(self.parent[chain[-1]]))
        return chain


class Regions:
    """The tree of one picture, and where its patches lie."""

    def __init__(self, pixels: Pixels, noticed: list[Floats]) -> None:
        lab = np.asarray(cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)
        self.edges = edge_strength(lab)
        height, width = self.edges.shape
        self.patch_of = patches(self.edges, max(PATCH_SIDE_MIN_PX, round((height * width / PATCHES) ** 0.5)))
        channels = [lab[..., channel] for channel in range(3)]
        for strange in noticed:
            wide = cv2.resize(condensed(strange), (width, height), interpolation=cv2.INTER_LINEAR)
            known = np.asarray(wide, np.float32)
            channels += [known[..., channel] for channel in range(known.shape[2])]
        self.area = np.bincount(self.patch_of.ravel()).astype(np.float64)
        totals = [np.bincount(self.patch_of.ravel(), channel.ravel()) for channel in channels]
        self.tree = join(
            self.area, np.stack(totals, 1) / self.area[:, None], touching(self.patch_of, self.edges)
        )
        self.members = members(self.tree, len(self.area))

    def mask(self, region: int) -> Mask:
        """Where a region lies."""
        return np.asarray(self.members[region][self.patch_of])

    def boxes(self) -> npt.NDArray[np.int64]:
        """Left, top, right and bottom of every region."""
        ys, xs = np.indices(self.patch_of.shape)
        count, flat = len(self.area), self.patch_of.ravel()
        low = np.full((2, count), 1 << 30, np.int64)
        high = np.full((2, count), -1, np.int64)
        for axis, places in enumerate((xs.ravel(), ys.ravel())):
            np.minimum.at(low[axis], flat, places)
            np.maximum.at(high[axis], flat, places + 1)
        boxes = np.concatenate([low, high]).T
        all_boxes = np.vstack(
            [boxes, np.tile([1 << 30, 1 << 30, -1, -1], (len(self.tree.parent) - count, 1))]
        )
        for region, parent in enumerate(self.tree.parent):
            if parent >= 0:
                np.minimum(all_boxes[parent, :2], all_boxes[region, :2], out=all_boxes[parent, :2])
                np.maximum(all_boxes[parent, 2:], all_boxes[region, 2:], out=all_boxes[parent, 2:])
        return all_boxes


def edge_strength(lab: Floats) -> Floats:
    """How quickly the colour changes at each pixel."""
    total = np.zeros(lab.shape[:2], np.float32)
    for blur in BLURS:
        soft = cv2.GaussianBlur(lab, (0, 0), blur)
        across, down = (cv2.Sobel(soft, cv2.CV_32F, dx, 1 - dx, ksize=3) / 8 for dx in (1, 0))
        total += np.sqrt((across**2 + down**2).sum(2)) * blur
    return np.asarray(total / len(BLURS), np.float32)


def condensed(noticed: Floats) -> Floats:
    """The few directions in which a map differs most, at one scale."""
    flat = noticed.reshape(-1, noticed.shape[2]).astype(np.float64)
    flat -= flat.mean(0)
    if (
        len(flat) < flat.shape[1]
    ):  # fewer places than channels: the smaller of two matrices that tell the same
        values, directions = np.linalg.eigh(flat @ flat.T)
        few = directions * np.sqrt(np.maximum(values, 0))
    else:
        few = flat @ np.linalg.eigh(flat.T @ flat)[1]
    few = few[:, -NOTICED_DIMENSIONS:]
    scale = NOTICED_WEIGHT / max(float(np.sqrt((few**2).sum(1).mean())), 1e-9)
    return np.asarray((few * scale).reshape(*noticed.shape[:2], -1), np.float32)


def patches(edges: Floats, side: int) -> Labels:
    """Patches of about this side, whose borders follow edges: a watershed from the calmest pixel of each cell."""
    marks = np.zeros(edges.shape, np.int32)
    count = 0
    for top in range(0, edges.shape[0], side):
        for left in range(0, edges.shape[1], side):
            cell = edges[top : top + side, left : left + side]
            inset = 1 if min(cell.shape) > 3 else 0  # two marks that touch would flow into one another
            calm = cell[inset : cell.shape[0] - inset, inset : cell.shape[1] - inset]
            down, right = divmod(int(calm.argmin()), calm.shape[1])
            count += 1
            marks[top + inset + down, left + inset + right] = count
    steep = np.clip(edges * 6, 0, 255).astype(np.uint8)
    cv2.watershed(np.repeat(steep[..., None], 3, axis=2), marks)
    labels = np.maximum(marks, 0).astype(np.float32)
    while not labels.all():  # the borders themselves go to a neighbour
        labels = np.where(labels == 0, cv2.dilate(labels, np.ones((3, 3), np.uint8)), labels)
    _, numbered = np.unique(labels, return_inverse=True)
    return numbered.reshape(edges.shape).astype(np.int32)


def touching(patch_of: Labels, edges: Floats) -> Edges:
    """Which patches touch, and how strong the edge between them is on average."""
    beside = ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]))
    one, other = (np.concatenate([patch_of[pair[side]].ravel() for pair in beside]) for side in (0, 1))
    steep = np.concatenate([np.maximum(edges[here], edges[there]).ravel() for here, there in beside])
    differ = one != other
    count = int(patch_of.max()) + 1
    pairs = np.minimum(one, other)[differ].astype(np.int64) * count + np.maximum(one, other)[differ]
    unique, which, length = np.unique(pairs, return_inverse=True, return_counts=True)
    return Edges(unique // count, unique % count, length, np.bincount(which, steep[differ]) / length)


def join(area: Doubles, mean: Doubles, edges: Edges) -> Tree:
    """Join the two that are most alike, again and again, until all is one."""
    count = len(area)
    parent = np.full(2 * count - 1, -1, np.int64)
    height = np.zeros(2 * count - 1)
    areas, means = [*area.tolist()], [*mean]
    beside: list[dict[int, tuple[int, float]]] = [{} for _ in range(count)]
    for one, other, length, strength in zip(*(field.tolist() for field in edges), strict=True):
        beside[one][other] = beside[other][one] = (length, strength * length)

    def unlike(one: int, other: int) -> float:
        length, steep = beside[one][other]
        apart = means[one] - means[other]
        differ = steep / length + UNLIKE_WEIGHT * float(np.sqrt(apart @ apart))
        return differ * float(min(areas[one], areas[other]) ** SMALL_FIRST)

    waiting = [
        (unlike(one, other), one, other) for one in range(count) for other in beside[one] if one < other
    ]
    heapq.heapify(waiting)
    highest = 0.0
    while waiting:
        cost, one, other = heapq.heappop(waiting)
        if parent[one] >= 0 or parent[other] >= 0:
            continue
        new, highest = len(areas), max(highest, cost)
        parent[one] = parent[other] = new
        height[new] = highest
        areas.append(areas[one] + areas[other])
        means.append((means[one] * areas[one] + means[other] * areas[other]) / areas[new])
        beside.append(joined(beside[one], beside[other], one, other))
        for neighbour, edge in beside[new].items():
            del_both(beside[neighbour], one, other)
            beside[neighbour][new] = edge
            heapq.heappush(waiting, (unlike(new, neighbour), neighbour, new))
    return Tree(parent[: len(areas)], height[: len(areas)])


def joined(
    one: dict[int, tuple[int, float]], other: dict[int, tuple[int, float]], *gone: int
) -> dict[int, tuple[int, float]]:
    """The edges of two regions taken together."""
    both = dict(one)
    for neighbour, (length, steep) in other.items():
        before = both.get(neighbour, (0, 0.0))
        both[neighbour] = (before[0] + length, before[1] + steep)
    del_both(both, *gone)
    return both


def del_both(edges: dict[int, tuple[int, float]], *gone: int) -> None:
    for region in gone:
        edges.pop(region, None)


def members(tree: Tree, count: int) -> Mask:
    """Which patches each region is made of."""
    made_of = np.zeros((len(tree.parent), count), bool)
    made_of[np.arange(count), np.arange(count)] = True
    for region, parent in enumerate(tree.parent):
        if parent >= 0:
            made_of[parent] |= made_of[region]
    return made_of
