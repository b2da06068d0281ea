"""GLiT-Tiny with 7x7 convolution heads over the map and without class token on ImageNet-1k.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_conv2d-7_in1k.py 8``
Source: GLiT, section 4.3 and Table 6 ("Conv2d"): kernels of 3, 5 and 7, global average pooling for the classifier.
Published: 76.4 % top-1, 1.4 G FLOPs for a network that is searched anew and was not published.
Heads and sizes are those of ``glit_tiny_distribution_in1k.py``, the kernel is the same in all blocks.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_distribution_in1k.py']

sizes = dict(kernel_size=7)
model = dict(
    backbone=dict(
        out_type='avg_featmap',
        arch=dict(
            locality='conv2d',
            blocks=[
                {**block, **sizes} if 'kernel_size' in block else block for block in _base_.model.backbone.arch.blocks
            ],
        ),
    )
)
