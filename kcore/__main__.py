"""``python -m kcore`` is the ``kcore`` program."""

import sys

from kcore.cli import main

sys.exit(main())
