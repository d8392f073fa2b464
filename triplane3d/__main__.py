"""The `triplane3d` command, also as `python -m triplane3d`. Imports almost nothing before Ctrl-C is handled."""

import os
import signal
from types import FrameType

STOPPED = 130


def main() -> None:
    """Run the command line.

    Importing the command takes a moment. Ctrl-C in that time ends the process at once and without a traceback: nothing
    has been started. `triplane3d.cli.main` then installs its own handler.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as it is for background jobs
        signal.signal(signal.SIGINT, _exit)
    from triplane3d.cli import main as run

    run()


def _exit(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


if __name__ == "__main__":
    main()
