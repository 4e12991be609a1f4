"""``python -m gumnet`` is the program ``gumnet``."""

from __future__ import annotations

from gumnet.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
