"""AutoViT-XS on ImageNet-1k at 256 px, the DeiT recipe at batch 1024 without repeated augmentation.

Command: ``bash tools/dist_train.sh configs/autovit/autovit_xs_in1k.py 8``
Source: AutoViT, Tables 2 and 5.
Published: 75.5 % top-1, 2.5 M parameters, 0.8 G MACs, 19.3 ms on an iPhone 13 with CoreML.
The published network keeps the weights of its supernet, which for XXS was trained with hard distillation from
RegNetY-32G; for this size the paper does not say. Here it is trained alone.
"""

_base_ = ['./autovit_s_in1k.py']

model = dict(backbone=dict(arch='xs'), head=dict(in_channels=672))
