"""``python -m dnsvigil`` is the command ``dnsvigil``."""

import sys

from dnsvigil.cli import main

sys.exit(main())
