"""Supernet of AutoViT-XXS on ImageNet-1k, with hard distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_xxs_hard-regnety_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 5 and 6.
Published: 71.3 % top-1, 1.8 M parameters for the network found.
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``regnety_320.tv2_in1k`` come
nearest to the 83.6 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('regnety_320.tv2_in1k', pretrained=True).state_dict(),
'checkpoints/regnety_320.pth')"``
The paper does not give the weight of the distillation; this is DeiT's.
The teacher sees the images resized to 224 px, the size of its weights.
"""

_base_ = ['./supernet_autovit_xxs_in1k.py']

model = dict(
    teacher=dict(timm='regnety_320.tv2_in1k', checkpoint='checkpoints/regnety_320.pth'),
    distillation=dict(kind='hard', alpha=0.5),
)
