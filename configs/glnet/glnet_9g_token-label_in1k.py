"""GLNet-9G on ImageNet-1k with token labelling, 310 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/glnet_9g_token-label_in1k.py 16``, after
``tools/make_label_maps.py``, as for ``glnet_4g_token-label_in1k.py``
Source: GLNet, Tables 3 and 9 and appendix B; LV-ViT.
Published: 85.3 % top-1 with half of the maximal token logit added, 61 M parameters, 9.7 G FLOPs.
"""

_base_ = ['./glnet_4g_token-label_in1k.py']

model = dict(backbone=dict(arch='9g'), head=dict(in_channels=768))
