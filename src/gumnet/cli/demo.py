"""x."""


def demo() -> None:
    """Do it all.

    Example
        gumnet fsc average/half1.mrc average/half2.mrc
        gumnet fsc average/half1.mrc average/half2.mrc

    More words follow here in
    two lines.
    """
