"""`python -m gahb.cli` is the command `gahb`."""

import sys

from . import main

sys.exit(main())
