"""GLiT-Tiny with the same heads in every block on ImageNet-1k, convolution heads only.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_uniform-0-3_in1k.py 8``
Source: GLiT, Table 1.
Published: 71.02 % top-1.
The paper gives neither expansion nor kernel. These are a reading, those of the first stage of the search:
with them the network counts 1.83 G, of which the paper says nothing.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

block = dict(num_attn_heads=0, conv_ratio=4, kernel_size=31, mlp_ratio=4)
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=192, num_heads=3, blocks=[block] * 12)))
