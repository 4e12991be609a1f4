"""Gum-Net: the network, its unsupervised loss and its weights on disk."""
