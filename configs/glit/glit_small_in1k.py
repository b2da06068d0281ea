"""GLiT-Small on ImageNet-1k, the DeiT recipe at batch 1024.

Command: ``bash tools/dist_train.sh configs/glit/glit_small_in1k.py 8``
Source: GLiT, Table 3.
Published: 80.5 % top-1, 24.6 M parameters, 4.4 G FLOPs.
The searched detail was never published; this architecture is ours, of the published size.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

model = dict(backbone=dict(arch='small'), head=dict(in_channels=384))
