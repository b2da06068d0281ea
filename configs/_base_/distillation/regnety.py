# The teacher RegNetY-32G. The paper does not name its weights: of timm's that know ImageNet-1k alone,
# ``regnety_320.tv2_in1k`` come nearest to the 83.6 % (83.2 % by timm's own list). Save them once:
# ``python -c "import timm, torch; torch.save(timm.create_model('regnety_320.tv2_in1k', pretrained=True).state_dict(),
# 'checkpoints/regnety_320.pth')"``
# It sees the images resized to 224 px, the size of its weights.
teacher = dict(timm='regnety_320.tv2_in1k', checkpoint='checkpoints/regnety_320.pth')
