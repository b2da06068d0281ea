"""GLiT-Tiny with the searched distribution of heads alone on ImageNet-1k, retraining of the first stage's result.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_distribution_in1k.py 8``
Source: GLiT, Table 4 ("Only distribution") and Figure 5.
Published: 75.4 % top-1, 1.4 G FLOPs.
The paper does not say at what sizes the search fixes the blocks. These are a reading, the sizes of our first stage:
with them the network counts 1.37 G without the products of attention, as GLiT-Tiny counts 1.38 G.
Gradients are clipped at a norm of 1.0, as in the released command; DeiT's recipe, which the paper names, does not clip.
The released command also trains in mixed precision: add ``--amp``.
"""

_base_ = ['./glit_tiny_in1k.py']

attention = dict(num_attn_heads=3, qkv_ratio=1, mlp_ratio=4)
mixed = dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=4, kernel_size=31, mlp_ratio=4)
local = dict(num_attn_heads=0, conv_ratio=4, kernel_size=31, mlp_ratio=4)
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=192,
            num_heads=3,
            blocks=[
                attention, local, mixed, attention, local, mixed,
                attention, mixed, local, attention, local, attention,
            ],
        )
    )
)  # fmt: skip
