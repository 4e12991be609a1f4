"""Training of Gum-Net on random pairs of particles, without poses and without classes."""
