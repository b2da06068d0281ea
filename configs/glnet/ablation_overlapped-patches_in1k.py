"""GLNet-STL with overlapped patches, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_overlapped-patches_in1k.py 16``
Source: GLNet, Table 7, step 1.
Published: 82.7 % top-1, 32.3 M parameters, 4.7 G FLOPs.
The recipe is that of GLNet-STL; the paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(overlapped_patches=True)))
