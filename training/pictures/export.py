"""Write what workers run: `python -m pictures.export FOLDER TARGET`, two ONNX files that need no PyTorch.

Weights of convolutions and matrices are kept as 8-bit numbers with a scale for each row, and computed with as floats.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pictures.finer import Finer
from pictures.model import Painter, Shape

OPSET = 17
#: Smaller tensors stay as they are.
NUMBERS_MIN = 4_096


def write(network: nn.Module, examples: tuple[torch.Tensor, ...], names: tuple[str, ...], path: Path) -> None:
    """Trace, make small, and write; rows and tokens may be any number."""
    axes = {name: {0: "rows"} for name in (*names, "painted")}
    for name in {"words", "mask"} & set(names):
        axes[name][1] = "tokens"
    whole = path.with_suffix(".whole.onnx")
    torch.onnx.export(
        network.eval(), examples, whole, input_names=list(names), output_names=["painted"],
        dynamic_axes=axes, opset_version=OPSET, dynamo=False,
    )  # fmt: skip
    model = onnx.load(whole)
    whole.unlink()
    model.producer_name = model.producer_version = ""
    compact(model.graph)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def compact(graph: onnx.GraphProto) -> None:
    """Put every large weight as 8-bit numbers, and let the first node that meets it be their float."""
    kept, nodes = [], []
    turned = {node.input[1] for node in graph.node if node.op_type in ("MatMul", "ConvTranspose")}
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < NUMBERS_MIN:
            kept.append(weight)
            continue
        axis = 1 if weight.name in turned and values.ndim > 1 else 0
        others = tuple(number for number in range(values.ndim) if number != axis)
        scale = np.maximum(np.abs(values).max(axis=others), 1e-8).astype(np.float32) / 127
        wide = scale.reshape([-1 if number == axis else 1 for number in range(values.ndim)])
        small = np.rint(values / wide).astype(np.int8)
        kept += [
            numpy_helper.from_array(small, f"{weight.name}.small"),
            numpy_helper.from_array(scale, f"{weight.name}.scale"),
            helper.make_tensor(
                f"{weight.name}.zero", TensorProto.INT8, scale.shape, bytes(scale.size), raw=True
            ),
        ]
        inputs = [f"{weight.name}.{part}" for part in ("small", "scale", "zero")]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [weight.name], axis=axis))
    nodes += graph.node
    for field, values_ in ((graph.initializer, kept), (graph.node, nodes)):
        del field[:]
        field.extend(values_)


def export(folder: Path, target: Path) -> None:
    painter = Painter(Shape())
    painter.load_state_dict(torch.load(folder / "state.pt", weights_only=True)["average"])
    side, width = painter.shape.side_px, painter.shape.words
    examples = (torch.randn(2, 3, side, side), torch.rand(2), torch.randn(2, 7, width), torch.ones(2, 7))
    write(painter, examples, ("image", "time", "words", "mask"), target / "painter.onnx")
    finer = Finer()
    finer.load_state_dict(torch.load(folder / "finer.pt", weights_only=True))
    write(finer, (torch.randn(2, 3, side, side),), ("image",), target / "finer.onnx")
    for path in (target / "painter.onnx", target / "finer.onnx"):
        print(f"{path.name} {path.stat().st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("target", type=Path)
    given = arguments.parse_args()
    given.target.mkdir(parents=True, exist_ok=True)
    export(given.folder, given.target)
