"""`python -m highnoon VERB ...`: the command line without its script."""

import sys

from highnoon.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
