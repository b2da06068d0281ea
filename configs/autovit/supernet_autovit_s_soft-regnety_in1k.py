"""Supernet of AutoViT-S on ImageNet-1k, with soft distillation from RegNetY-32G (83.6 %).

Command: ``bash tools/dist_train.sh configs/autovit/supernet_autovit_s_soft-regnety_in1k.py 8``, after
``python tools/split_imagenet.py data/imagenet/train data/imagenet/meta --num-held-out 50000``
Source: AutoViT, sections 3.3.1 and 5.1, Tables 1, 2 and 5.
Published: none.
The paper does not name the teacher's weights. Of timm's that know ImageNet-1k alone, ``regnety_320.tv2_in1k`` come
nearest to the 83.6 % (83.2 % by timm's own list). Save them once:
``python -c "import timm, torch; torch.save(timm.create_model('regnety_320.tv2_in1k', pretrained=True).state_dict(),
'checkpoints/regnety_320.pth')"``
The paper gives neither weight nor temperature of the distillation; these are DeiT's.
The teacher sees the images resized to 224 px, the size of its weights.
"""

_base_ = ['./supernet_autovit_s_in1k.py']

model = dict(
    teacher=dict(timm='regnety_320.tv2_in1k', checkpoint='checkpoints/regnety_320.pth'),
    distillation=dict(kind='soft', alpha=0.1, temperature=3.0),
)
