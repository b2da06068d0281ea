"""AutoViT-XXS on ImageNet-1k at 256 px, the DeiT recipe at batch 1024 without repeated augmentation.

Command: ``bash tools/dist_train.sh configs/autovit/autovit_xxs_in1k.py 8``
Source: AutoViT, Tables 2, 5 and 7.
Published: 71.3 % top-1, 1.8 M parameters, 0.3 G MACs, 10.2 ms on an iPhone 13 with CoreML.
The published network keeps the weights of its supernet, trained with hard distillation from RegNetY-32G; here it is
trained alone.
"""

_base_ = ['./autovit_s_in1k.py']

model = dict(backbone=dict(arch='xxs'), head=dict(in_channels=480))
