"""`python -m drystone_cli`."""

import sys

from drystone_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
