"""Records what MMCV's own operators return for the cases of `operator_cases.py`, as an outside truth for the stand-in.

    python tests/mmcv_ops/record.py FOLDER_OF_MMCV_SOURCE

runs in an environment with MMCV 2.1.0 compiled (`make ops`); the source is its sdist, unpacked
(`pip download --no-deps --no-binary :all: mmcv==2.1.0`). RoIPool and the focal loss exist in MMCV as CUDA kernels only;
those two kernels are compiled from the source for the CPU, with loops in the place of threads. Needs a C++ compiler.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmcv import _ext, ops
from torch.utils.cpp_extension import load

from mmhybrid import mmcv_ops

sys.path.insert(0, str(Path(__file__).parent))
from operator_cases import cases

OUT = Path(__file__).parents[1] / 'data' / 'mmcv_ops.npz'

# what the kernels' headers include, for the CPU
HELPER = """
#pragma once
#include <torch/extension.h>
#include <algorithm>
#include <cfloat>
#include <cmath>
using std::max; using std::min; using torch::Tensor;
#define __global__
#define CUDA_1D_KERNEL_LOOP(i, n) for (int i = 0; i < (n); ++i)
template <typename T> void atomicAdd(T* place, T value) { *place += value; }
"""

LAUNCHERS = """
#include "roi_pool_cuda_kernel.cuh"
#include "sigmoid_focal_loss_cuda_kernel.cuh"

#define DISPATCH(x, ...) AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "kernel", [&] { __VA_ARGS__; });

void roi_pool_forward(Tensor input, Tensor rois, Tensor output, Tensor argmax, int pooled_height, int pooled_width,
                      float spatial_scale) {
  DISPATCH(input, roi_pool_forward_cuda_kernel<scalar_t>(
      output.numel(), input.data_ptr<scalar_t>(), rois.data_ptr<scalar_t>(), output.data_ptr<scalar_t>(),
      argmax.data_ptr<int>(), pooled_height, pooled_width, spatial_scale, input.size(1), input.size(2), input.size(3)))
}
void roi_pool_backward(Tensor grad_output, Tensor rois, Tensor argmax, Tensor grad_input, int pooled_height,
                       int pooled_width, float spatial_scale) {
  DISPATCH(grad_input, roi_pool_backward_cuda_kernel<scalar_t>(
      grad_output.numel(), grad_output.data_ptr<scalar_t>(), rois.data_ptr<scalar_t>(), argmax.data_ptr<int>(),
      grad_input.data_ptr<scalar_t>(), pooled_height, pooled_width, grad_input.size(1), grad_input.size(2),
      grad_input.size(3)))
}
void sigmoid_focal_loss_forward(Tensor input, Tensor target, Tensor weight, Tensor output, float gamma, float alpha) {
  DISPATCH(input, sigmoid_focal_loss_forward_cuda_kernel<scalar_t>(
      output.numel(), input.data_ptr<scalar_t>(), target.data_ptr<int64_t>(),
      weight.numel() ? weight.data_ptr<scalar_t>() : nullptr, output.data_ptr<scalar_t>(), gamma, alpha, input.size(1)))
}
void sigmoid_focal_loss_backward(Tensor input, Tensor target, Tensor weight, Tensor grad_input, float gamma,
                                 float alpha) {
  DISPATCH(input, sigmoid_focal_loss_backward_cuda_kernel<scalar_t>(
      grad_input.numel(), input.data_ptr<scalar_t>(), target.data_ptr<int64_t>(),
      weight.numel() ? weight.data_ptr<scalar_t>() : nullptr, grad_input.data_ptr<scalar_t>(), gamma, alpha,
      input.size(1)))
}
PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("roi_pool_forward", &roi_pool_forward, py::arg("input"), py::arg("rois"), py::arg("output"), py::arg("argmax"),
        py::arg("pooled_height"), py::arg("pooled_width"), py::arg("spatial_scale"));
  m.def("roi_pool_backward", &roi_pool_backward, py::arg("grad_output"), py::arg("rois"), py::arg("argmax"),
        py::arg("grad_input"), py::arg("pooled_height"), py::arg("pooled_width"), py::arg("spatial_scale"));
  m.def("sigmoid_focal_loss_forward", &sigmoid_focal_loss_forward, py::arg("input"), py::arg("target"),
        py::arg("weight"), py::arg("output"), py::arg("gamma"), py::arg("alpha"));
  m.def("sigmoid_focal_loss_backward", &sigmoid_focal_loss_backward, py::arg("input"), py::arg("target"),
        py::arg("weight"), py::arg("grad_input"), py::arg("gamma"), py::arg("alpha"));
}
"""


def cuda_kernels(source: Path) -> Any:
    """The kernels of RoIPool and the focal loss, as functions on tensors of the CPU."""
    kernels = next(source.rglob('csrc/common/cuda'))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / 'pytorch_cuda_helper.hpp').write_text(HELPER)
        (Path(folder) / 'launchers.cpp').write_text(LAUNCHERS)
        files = [str(Path(folder) / 'launchers.cpp')]
        # no contraction of products and sums, so that the numbers are those that the source states
        flags = ['-O1', '-ffp-contract=off']
        return load('mmcv_kernels', files, extra_include_paths=[folder, str(kernels)], extra_cflags=flags)


def signatures() -> dict[str, list[str]]:
    """The arguments of the compiled operators that the stand-in has, as their docstrings state them."""
    heads = {name: getattr(_ext, name).__doc__.split(' -> ')[0] for name in mmcv_ops.OPERATORS}
    return {name: re.findall(r'[(,] ?(\w+):', head) for name, head in heads.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='folder of the unpacked sdist of mmcv 2.1.0')
    source = parser.parse_args().source
    assert _ext.__spec__.origin != mmcv_ops.__name__, 'MMCV has no compiled operators here'
    sys.modules['mmcv.ops.roi_pool'].ext_module = sys.modules['mmcv.ops.focal_loss'].ext_module = cuda_kernels(source)
    origin = {'mmcv': mmcv.__version__, 'torch': torch.__version__, 'compiler': ops.get_compiler_version()}
    arrays = {'origin': np.array(json.dumps(origin)), 'signatures': np.array(json.dumps(signatures()))}
    for case in cases():
        inputs = case.inputs()
        outputs = case.run(**{name: torch.from_numpy(value.copy()) for name, value in inputs.items()})
        arrays |= {f'{case.name}/in/{name}': value for name, value in inputs.items()}
        arrays |= {f'{case.name}/out/{name}': value.numpy() for name, value in outputs.items()}
    np.savez_compressed(OUT, **arrays)


if __name__ == '__main__':
    main()
