"""GLNet-STL with 25 slots, on ImageNet-1k, 300 epochs at batch 2048.

Command: ``bash tools/dist_train.sh configs/glnet/ablation_slots-25_in1k.py 16``
Source: GLNet, Table 6.
Published: 82.1 % top-1, 30.3 M parameters, 4.0 G FLOPs.
The recipe is that of GLNet-STL; the paper gives none for its ablations.
"""

_base_ = ['../_base_/ablation_glnet.py']

model = dict(backbone=dict(arch=dict(num_slots=[25, 25, 25, 25])))
