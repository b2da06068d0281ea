"""GLiT-Base on ImageNet-1k, the DeiT recipe at batch 1024.

Command: ``bash tools/dist_train.sh configs/glit/glit_base_in1k.py 8``
Source: GLiT, Table 3.
Published: 82.3 % top-1, 96.1 M parameters, 17.0 G FLOPs.
The searched detail was never published; this architecture is ours, of the published size.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

model = dict(backbone=dict(arch='base'), head=dict(in_channels=768))
