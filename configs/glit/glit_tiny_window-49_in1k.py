"""GLiT-Tiny with attention within windows of 49 tokens in place of convolution on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_window-49_in1k.py 8``
Source: GLiT, section 4.3 and Table 6 ("Local-area"): attention within 14, 28 and 49 tokens.
Published: 72.4 % top-1, 1.4 G FLOPs for a network that is searched anew and was not published.
Heads and sizes are those of ``glit_tiny_distribution_in1k.py``, the window is the same in all blocks.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_distribution_in1k.py']

sizes = dict(kernel_size=49, conv_ratio=1)
model = dict(
    backbone=dict(
        arch=dict(
            locality='window',
            blocks=[
                {**block, **sizes} if 'kernel_size' in block else block for block in _base_.model.backbone.arch.blocks
            ],
        ),
    )
)
