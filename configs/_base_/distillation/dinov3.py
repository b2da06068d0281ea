# The teacher DINOv3 ViT-S/16, which learned without labels from a network of 7 B parameters. Its weights are given to
# those who accept Meta's licence. Save them once:
# ``python -c "import timm, torch; torch.save(timm.create_model('vit_small_patch16_dinov3.lvd1689m',
# pretrained=True).state_dict(), 'checkpoints/vit_small_patch16_dinov3.pth')"``
# It sees the images resized to 256 px, the size of its weights.
teacher = dict(timm='vit_small_patch16_dinov3.lvd1689m', checkpoint='checkpoints/vit_small_patch16_dinov3.pth')
