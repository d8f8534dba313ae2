"""Networks from elsewhere as encoders: torchvision's, timm's, and modules of one's own."""
