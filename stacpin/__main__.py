"""``python -m stacpin`` is the ``stacpin`` command."""

from stacpin.cli import main

main()
