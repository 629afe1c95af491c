"""An object cut out of a picture by points and a box, without SAM: regions that are alike, and GrabCut at their border.

Points pick nested regions of the tree of `regions`; a box is cut by GrabCut (Rother et al., 2004) in its own
surroundings. The work is bounded by the size it is done at; the same question always gets the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from shoal.worker.pipelines.network import Floats
from shoal.worker.pipelines.picture import Pixels
from shoal.worker.pipelines.regions import Mask, Regions

#: The longest side that is worked at; a small picture or box is enlarged by this much at most.
SIDE_PX, ENLARGED_MAX = 384, 2.0
#: How much around a box is looked at, as a share of the box: enough to know what is not the object.
AROUND = 0.3
MASKS_MAX = 3
#: Two masks this much alike are one.
SAME = 0.9
#: A point stands for a disc of this radius.
POINT_PX = 3
#: The border of a region is open to GrabCut within this share of the region's side.
OPEN = 0.06
ROUNDS = 3
#: A region is one for a box if this share of it lies inside.
INSIDE = 0.8
#: A hole or a scrap smaller than this share of the mask is none.
SCRAP = 0.02
#: Logits are the distance to the mask's border in pixels of the working size, up to this.
LOGIT_MAX = 9.9
#: What a score is made of: the percentile of edges that counts as a strong one; the weight of fitting the box beside
#: that of the edge; what lying along the picture's rim costs; and what being large is worth.
STRONG, FIT, CUT_OFF, LARGE = 95, 0.7, 0.6, 0.02
SURE_OUT, SURE_IN, MAYBE_OUT, MAYBE_IN = cv2.GC_BGD, cv2.GC_FGD, cv2.GC_PR_BGD, cv2.GC_PR_FGD


class Prompt(Struct, frozen=True):
    """What shows the object, in pixels of the picture: x and y of points in it and out of it, and a box around it."""

    inside: tuple[tuple[float, float], ...] = ()
    outside: tuple[tuple[float, float], ...] = ()
    box: tuple[float, float, float, float] | None = None


class Cut(NamedTuple):
    """One mask: above 0 is the object; and how much it can be trusted, from 0 to 1."""

    logits: Floats
    score: float


class Frame(NamedTuple):
    """The part of the picture that is worked on, and how much larger or smaller."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    def place(self, x: float, y: float, shape: tuple[int, ...]) -> tuple[int, int]:
        """A point of the picture as row and column of the frame; of what lies beside it, the nearest."""
        column, row = (x - self.left) * self.scale, (y - self.top) * self.scale
        return min(max(int(row), 0), shape[0] - 1), min(max(int(column), 0), shape[1] - 1)


class Scene:
    """A frame at its working size, with everything that masks are judged by."""

    def __init__(self, pixels: Pixels, prompt: Prompt, guess: Floats | None, frame: Frame) -> None:
        part = pixels[frame.top : frame.bottom, frame.left : frame.right]
        how = cv2.INTER_AREA if frame.scale < 1 else cv2.INTER_CUBIC
        size = [max(8, round(side * frame.scale)) for side in (part.shape[1], part.shape[0])]
        self.pixels: Pixels = np.asarray(cv2.resize(part, size, interpolation=how), np.uint8)
        self.shape = self.pixels.shape[:2]
        self.inside = [frame.place(*point, self.shape) for point in prompt.inside]
        self.outside = [frame.place(*point, self.shape) for point in prompt.outside]
        self.box: tuple[int, int, int, int] | None = None
        if prompt.box is not None:
            top, left = frame.place(prompt.box[0], prompt.box[1], self.shape)
            bottom, right = frame.place(prompt.box[2], prompt.box[3], self.shape)
            self.box = left, top, max(right, left + 1) + 1, max(bottom, top + 1) + 1
        self.guess: Mask | None = None
        if guess is not None:
            whole = cv2.resize(guess, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            part_of_it = whole[frame.top : frame.bottom, frame.left : frame.right]
            self.guess = np.asarray(cv2.resize(part_of_it, size, interpolation=cv2.INTER_LINEAR) > 0)

    def discs(self, points: list[tuple[int, int]]) -> Mask:
        mask = np.zeros(self.shape, np.uint8)
        for row, column in points:
            cv2.circle(mask, (column, row), POINT_PX, 1, -1)
        return mask > 0

    def boxed(self) -> Mask:
        """Where the object may be."""
        if self.box is None:
            return np.ones(self.shape, bool)
        mask = np.zeros(self.shape, bool)
        left, top, right, bottom = self.box
        mask[top:bottom, left:right] = True
        return mask


def frame_for(pixels: Pixels, box: tuple[float, float, float, float] | None) -> Frame:
    """The whole picture, or a box and its surroundings."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    wide, high = (right - left) * AROUND + 4, (bottom - top) * AROUND + 4
    left, top = max(0, int(left - wide)), max(0, int(top - high))
    right, bottom = min(width, int(right + wide) + 1), min(height, int(bottom + high) + 1)
    return Frame(left, top, right, bottom, min(ENLARGED_MAX, SIDE_PX / max(right - left, bottom - top)))


def grab(scene: Scene, marks: npt.NDArray[np.uint8]) -> Mask:
    """GrabCut from these marks; what points and box say stands."""
    marks[~scene.boxed()] = SURE_OUT
    marks[scene.discs(scene.outside)] = SURE_OUT
    marks[scene.discs(scene.inside)] = SURE_IN
    maybe = (marks == SURE_IN) | (marks == MAYBE_IN)
    if min(maybe.sum(), (~maybe).sum()) < 8:  # too little to learn two palettes from
        return np.asarray(maybe)
    cv2.setRNGSeed(0)
    rest, own = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(scene.pixels, marks, (0, 0, 1, 1), rest, own, ROUNDS, cv2.GC_INIT_WITH_MASK)
    return np.asarray((marks == SURE_IN) | (marks == MAYBE_IN))


def refined(scene: Scene, region: Mask) -> Mask:
    """The region with its border moved, by little, to where colours part."""
    reach = max(2, round(OPEN * float(np.sqrt(region.sum()))))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    solid = region.astype(np.uint8)
    marks = np.where(region, MAYBE_IN, MAYBE_OUT).astype(np.uint8)
    marks[cv2.erode(solid, disc, borderValue=1) > 0] = SURE_IN
    marks[cv2.dilate(solid, disc) == 0] = SURE_OUT
    return grab(scene, marks)


def tidy(scene: Scene, mask: Mask) -> Mask:
    """Without scraps and small holes; where there are points, only what hangs together with one."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return mask
    sizes = stats[:, cv2.CC_STAT_AREA]
    kept = {int(parts[point]) for point in scene.inside} - {0} if scene.box is None else set()
    kept = kept or {part for part in range(1, count) if sizes[part] >= SCRAP * sizes[1:].sum()}
    mask = np.isin(parts, list(kept))
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    rim = set(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]).tolist())
    small = [
        hole
        for hole in range(1, count)
        if hole not in rim and stats[hole, cv2.CC_STAT_AREA] < SCRAP * mask.sum()
    ]
    return np.asarray(mask | np.isin(holes, small))


def by_box(scene: Scene, regions: Regions) -> Iterator[Mask]:
    """What GrabCut finds in the box; and the region that fits it best, alone and as GrabCut's first guess."""
    yield grab(scene, np.where(scene.boxed(), MAYBE_IN, SURE_OUT).astype(np.uint8))
    assert scene.box is not None
    shares = np.bincount(regions.patch_of.ravel(), scene.boxed().ravel())
    sizes = regions.members @ regions.area
    inside = (regions.members @ shares) / sizes
    fits = np.where(inside >= INSIDE, overlap(regions.boxes(), scene.box), 0)
    if fits.max() > 0:
        region = regions.mask(int(fits.argmax())) & scene.boxed()
        yield grab(scene, np.where(region, MAYBE_IN, MAYBE_OUT).astype(np.uint8))
        yield refined(scene, region)


def overlap(boxes: np.ndarray[tuple[int, int], np.dtype[np.int64]], box: tuple[int, int, int, int]) -> Floats:
    """How well boxes fit a box: intersection over union."""
    left, top, right, bottom = boxes.T
    across = np.clip(np.minimum(right, box[2]) - np.maximum(left, box[0]), 0, None)
    down = np.clip(np.minimum(bottom, box[3]) - np.maximum(top, box[1]), 0, None)
    own, its = (right - left) * (bottom - top), (box[2] - box[0]) * (box[3] - box[1])
    return np.asarray(across * down / (own + its - across * down), np.float32)


def by_points(scene: Scene, regions: Regions) -> Iterator[Mask]:
    """Nested regions around the points that stay themselves longest while all is joined, but not where no is said."""
    tree = regions.tree
    barred = {int(regions.patch_of[point]) for point in scene.outside}
    barred -= {int(regions.patch_of[point]) for point in scene.inside}
    chains = []
    for point in scene.inside:
        chain = tree.ancestry(int(regions.patch_of[point]))
        chains.append([region for region in chain[:-1] if not any(regions.members[region, list(barred)])])
    heights = sorted({float(tree.height[region]) for chain in chains for region in chain})
    grown: list[tuple[float, Mask]] = []
    for index, height in enumerate(heights):
        made_of = np.zeros(len(regions.area), bool)
        for chain in chains:
            reached = [region for region in chain if tree.height[region] <= height] or chain[:1]
            made_of |= regions.members[reached[-1]] if reached else False
        life = (heights[index + 1] if index + 1 < len(heights) else float(tree.height[-1])) - height
        if grown and np.array_equal(grown[-1][1], made_of):
            grown[-1] = (grown[-1][0] + life, made_of)
        else:
            grown.append((life, made_of))
    for _, made_of in sorted(grown, key=lambda one: -one[0])[: 2 * MASKS_MAX]:
        yield refined(scene, made_of[regions.patch_of])


def score(scene: Scene, regions: Regions, mask: Mask) -> float:
    """How far to trust a mask: by the edge its border follows, and by how well it fits the box if there is one.

    A point alone may mean the part or the whole, so no mask from points scores more than a half.
    """
    border = mask ^ (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0)
    if not border.any():
        return 0.0
    strong = max(float(np.percentile(regions.edges, STRONG)), 1e-6)
    near = cv2.dilate(np.minimum(regions.edges / strong, 1), np.ones((3, 3), np.uint8))
    edge = float(near[border].mean())
    if scene.box is not None:
        ys, xs = np.nonzero(mask)
        own = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]])
        return ((1 - FIT) * edge + FIT * float(overlap(own, scene.box)[0])) ** 2
    rim = sum(int(side.sum()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    trust = edge - CUT_OFF * rim / (rim + int(border.sum())) + LARGE * float(np.log(mask.mean()))
    return max(trust, 0.0) / 2


def cut(
    pixels: Pixels, noticed: list[Floats], frame: Frame, prompt: Prompt, guess: Floats | None = None
) -> list[Cut]:
    """Up to three masks that differ, the most trusted first, at the picture's size.

    `noticed` is what a classifier noticed in the frame; `guess` an earlier answer's logits, at any size.
    """
    scene = Scene(pixels, prompt, guess, frame)
    regions = Regions(scene.pixels, noticed)
    found = [] if scene.guess is None else [refined(scene, scene.guess)]
    if scene.box is not None:
        found += by_box(scene, regions)
    elif scene.inside:
        found += by_points(scene, regions)
    judged: list[tuple[float, Mask]] = []
    for mask in (tidy(scene, mask) for mask in found):
        if mask.any() and not any(alike(mask, other) > SAME for _, other in judged):
            judged.append((score(scene, regions, mask), mask))
    best = sorted(judged, key=lambda one: -one[0])[:MASKS_MAX]
    return [Cut(spread(mask, frame, pixels), float(trust)) for trust, mask in best]


def alike(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def spread(mask: Mask, frame: Frame, pixels: Pixels) -> Floats:
    """A mask of the frame as logits of the whole picture."""
    inward = cv2.distanceTransform(np.pad(mask, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    outward = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    near = np.where(mask, inward - 0.5, 0.5 - outward).clip(-LOGIT_MAX, LOGIT_MAX).astype(np.float32)
    logits = np.full(pixels.shape[:2], -LOGIT_MAX, np.float32)
    size = frame.right - frame.left, frame.bottom - frame.top
    logits[frame.top : frame.bottom, frame.left : frame.right] = cv2.resize(
        near, size, interpolation=cv2.INTER_LINEAR
    )
    return logits
