"""What keeps a command from doing what it is asked; ``main`` has the exit statuses."""


class CommandError(Exception):
    """The command cannot be done."""


class UsageError(CommandError):
    """The command line or the configuration is wrong."""
