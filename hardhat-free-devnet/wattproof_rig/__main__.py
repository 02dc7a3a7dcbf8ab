"""`python -m wattproof_rig`: start the bench rig and keep it running until SIGTERM or Ctrl-C."""

from wattproof_rig.cli import app

if __name__ == "__main__":
    app(prog_name="python -m wattproof_rig")
