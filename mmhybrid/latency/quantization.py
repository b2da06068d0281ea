"""ONNX networks in int8: static quantisation after training, by ONNX Runtime, as QuantizeLinear and DequantizeLinear.

Quantised are the layers with weights (convolutions and linear layers): weights channel by channel, their inputs and
outputs by the ranges that calibration images give them. All else stays in float32: the layers whose outputs are the
network's, products of activations with each other (attention, GLNet's clustering), softmax and norms. What that is
worth stands in docs/results.md.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmhybrid.utils.optional import require

# Operators whose second input is a weight; a MatMul of two activations is none of them.
LAYERS = ('Conv', 'Gemm', 'MatMul')
# Behind a layer they become a part of it, whose outputs then have the range that they leave (ReLU6: 0 to 6).
BOUNDS = ('Clip', 'Relu')
# What the quantiser takes itself; it keeps the least and the greatest value alone.
METHOD = 'MinMax'


class _Batches:
    """What ONNX Runtime calls a CalibrationDataReader: the next batch by the input's name, None after the last."""

    def __init__(self, name: str, batches: Iterable[np.ndarray]) -> None:
        self.name = name
        self.batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch."""
        batch = next(self.batches, None)
        return None if batch is None else {self.name: batch}


def quantized(content: bytes, batches: Iterable[np.ndarray]) -> bytes:
    """The content of an ONNX file in int8.

    Args:
        content: Of a file in float32, whose tensors are in it, with one input.
        batches: Images as the file takes them, one batch at least; the ranges of activations are those that they have.
    """
    onnx = require('onnx', 'dtype int8')
    tools = require('onnxruntime.quantization', 'dtype int8')
    shapes = require('onnxruntime.quantization.shape_inference', 'dtype int8')
    with tempfile.TemporaryDirectory() as folder:
        given, prepared, written = (Path(folder, f'{name}.onnx') for name in ('given', 'prepared', 'written'))
        given.write_bytes(content)
        # folds constants and remaining batch norms; the exporter has written all shapes
        shapes.quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        constants, outputs = ({each.name for each in group} for group in (graph.initializer, graph.output))
        layers = [node for node in graph.node if node.op_type in LAYERS]
        # its option MatMulConstBOnly leaves products alone in another format only
        kept = [node.name for node in layers if not constants & {*node.input} or outputs & {*node.output}]
        tools.quantize_static(
            str(prepared),
            str(written),
            _Batches(graph.input[0].name, batches),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, *BOUNDS],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,  # times int8 weights: what x86 and ARM have instructions for
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod[METHOD],
            nodes_to_exclude=kept,
        )
        return written.read_bytes()
