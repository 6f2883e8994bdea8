"""``python -m dnsvigil`` is the command ``dnsvigil``."""

import sys

if not sys.flags.safe_path:
    # Python has put the current folder here. A file there would be loaded in place of the library of that name.
    del sys.path[0]

from dnsvigil.cli.main import main

sys.exit(main())
