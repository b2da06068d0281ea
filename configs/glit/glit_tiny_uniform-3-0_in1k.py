"""GLiT-Tiny with the same heads in every block on ImageNet-1k, attention heads only: DeiT-Tiny.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_uniform-3-0_in1k.py 8``
Source: GLiT, Tables 1, 3 and 4.
Published: 72.20 % top-1, 5.7 M parameters, 1.3 G FLOPs.
Gradients are clipped at a norm of 1.0, as in the other rows of the table and in the released command; DeiT's own
recipe, to which the 72.2 % belong, does not clip: ``--cfg-options optim_wrapper.clip_grad=None``. The released command
also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

block = dict(num_attn_heads=3, qkv_ratio=1, mlp_ratio=4)
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=192, num_heads=3, blocks=[block] * 12)))
