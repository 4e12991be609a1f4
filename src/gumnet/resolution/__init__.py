"""How far a map can be trusted: corrected, directional and local resolution, masks for them, and sharpening."""
