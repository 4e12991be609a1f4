"""Classification by pairwise alignment: distances of all pairs, a tree of them, and classes cut from it."""
