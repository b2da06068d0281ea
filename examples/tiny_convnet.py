"""A small convolutional family with its search space and its costs; docs/own_space.md explains each part."""

from torch import nn

from mmhybrid.models.backbones.base import HybridBackbone, LayerGroup, Output
from mmhybrid.models.layers.basic import depthwise_conv2d
from mmhybrid.models.parts import Part, sides
from mmhybrid.registry import MODELS, SEARCH_SPACES
from mmhybrid.space import Choice, Rule, SearchSpace


class Block(nn.Module):
    """A residual depth-wise separable convolution."""

    def __init__(self, width, kernel_size):
        super().__init__()
        norm = nn.BatchNorm2d(width)
        self.layers = nn.Sequential(depthwise_conv2d(width, kernel_size), norm, nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, x):
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.layers(x)


@MODELS.register_module()
class TinyConvNet(HybridBackbone):
    """Stages of a strided convolution and blocks; ``arch`` has ``embed_dims`` and each block's ``kernel_sizes``."""

    def __init__(
        self,
        arch,
        out_indices=(-1,),
        frozen_stages=-1,
        norm_eval=False,
        with_cp=False,
        out_norm_cfg=None,
        init_cfg=None,
    ):
        widths = arch['embed_dims']
        super().__init__(len(widths), out_indices, frozen_stages, norm_eval, with_cp, init_cfg)
        self.stages = nn.ModuleList()
        for before, width, kernels in zip((3, *widths[:-1]), widths, arch['kernel_sizes'], strict=True):
            blocks = [Block(width, kernel_size) for kernel_size in kernels]
            self.stages.append(nn.ModuleList([nn.Conv2d(before, width, 3, 2, 1), *blocks]))
        self.build_output_norms(out_norm_cfg, {'type': 'BN'}, widths)
        self.finish()

    def layer_groups(self):
        """The first convolution, then every layer."""
        names = [(i, f'stages.{i}.{j}') for i, stage in enumerate(self.stages) for j in range(len(stage))]
        return [LayerGroup(0 if name == 'stages.0.0' else i + 1, (name,)) for i, name in names]

    def outputs(self, arch):
        """The outputs of the stages."""
        return [Output(width, 2 ** (i + 1)) for i, width in enumerate(arch['embed_dims'])]

    def parts(self, arch, input_shape):
        """The network as a sum of parts; a part's kind and sizes say all that its cost depends on."""
        width, *size = input_shape
        for i, (out, kernels) in enumerate(zip(arch['embed_dims'], arch['kernel_sizes'], strict=True)):
            yield Part('down', {'in': width, 'out': out, **sides(*size)}, 1, ((f'stages.{i}.0', (width, *size)),))
            width, size = out, [(side + 1) // 2 for side in size]
            for kernel in sorted(set(kernels)):
                piece = (f'stages.{i}.{1 + kernels.index(kernel)}', (width, *size))
                sizes = {'width': width, 'kernel': kernel, **sides(*size)}
                yield Part('block', sizes, kernels.count(kernel), (piece,))
        yield Part('norm', {'width': width, **sides(*size)}, 1, (('norm', (width, *size)), ('out_norms',)))

    def compute_outputs(self, x):
        """Images (B, 3, H, W) -> maps of the stages in ``out_indices``."""
        for i, stage in enumerate(self.stages):
            for layer in stage:
                x = self.run_block(layer, x)
            if i in self.out_indices:
                yield self.output_norm(i, x)


@SEARCH_SPACES.register_module()
class TinyConvNetSpace(SearchSpace):
    """Genes ``stages.<i>.width``, ``stages.<i>.depth`` and, of each block, ``stages.<i>.blocks.<j>.kernel_size``."""

    def __init__(self, widths=((16, 24), (32, 48), (64, 96)), depths=(1, 2, 3), kernels=(3, 5, 7), restrict=None):
        steps = []
        for i, values in enumerate(widths):
            stage = f'stages.{i}'
            steps += [Choice(f'{stage}.width', tuple(values)), Choice(f'{stage}.depth', tuple(depths), is_depth=True)]
            for j in range(max(depths)):
                exists = Rule((f'{stage}.depth',), lambda depth, j=j: depth > j)
                steps.append(Choice(f'{stage}.blocks.{j}.kernel_size', tuple(kernels), when=exists))
        super().__init__(steps, {'widths': widths, 'depths': depths, 'kernels': kernels}, restrict)

    def _decode(self, arch):
        widths = {name: value for name, value in arch.items() if name.endswith('.width')}
        blocks = [name.removesuffix('width') + 'blocks.' for name in widths]
        kernel_sizes = [[value for name, value in arch.items() if name.startswith(stage)] for stage in blocks]
        return {'embed_dims': list(widths.values()), 'kernel_sizes': kernel_sizes}
