"""``python -m launch.command``: the command `factor-engine` where it is not installed as a script."""

from launch.command.main import entry

entry()
