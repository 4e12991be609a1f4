"""Gum-Net, its unsupervised loss and its weights on disk; the learned matched filter."""
