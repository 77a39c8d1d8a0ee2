"""The command `dymo`, also as `python -m dymo`."""

import signal


def main() -> None:
    """The entry point."""
    # Until there is a command, Ctrl-C ends the process as the system does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .cli import main as run

    run()


if __name__ == "__main__":
    main()
