"""``python -m raworc``: the command line."""

from raworc.cli.main import main

main()
