"""GLiT-Tiny with the searched distribution of heads alone on ImageNet-1k, retraining of the first stage's result.

Command: ``bash tools/dist_train.sh configs/glit/glit_tiny_distribution_in1k.py 8``
Source: GLiT, Table 4 ("Only distribution") and Figure 5.
Published: 75.4 % top-1, 1.4 G FLOPs.
The paper does not say at what sizes the search fixes the blocks; these are those of our first stage, and the network
has 1.2 G multiply-accumulates.
"""

_base_ = ['./glit_tiny_in1k.py']

attention = dict(num_attn_heads=3, qkv_ratio=1, mlp_ratio=4)
mixed = dict(num_attn_heads=1, qkv_ratio=1, conv_ratio=2, kernel_size=31, mlp_ratio=4)
local = dict(num_attn_heads=0, conv_ratio=2, kernel_size=31, mlp_ratio=4)
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
