"""`python -m dymo`."""

from .cli import main

main()
