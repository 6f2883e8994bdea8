"""The configuration of a running program, which is read again when somebody asks for it."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from dnsvigil.config.yaml_file import ConfigError
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import counted

log = logging.getLogger(__name__)

_OF_THE_SOCKET: Final = ("listen", "web_config_file")


class Configuration(Protocol):
    """What both programs configure: the socket, which stays as it is until the next start."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def listen(self) -> str:
        """The address and port."""

    @property
    def web_config_file(self) -> Path | None:
        """The file of TLS and passwords, which the server itself reads again."""


C = TypeVar("C", bound=Configuration)


class LiveConfig(Generic[C]):
    """The configuration in force: the newest that had no mistake."""

    def __init__(self, current: C, load: Callable[[], C], take: Callable[[C], None]) -> None:
        """Begin with one; ``load`` reads another, and ``take`` puts it into force.

        Both may raise ``ConfigError`` and ``OSError``, and then nothing has changed.
        """
        self.current = current
        self.loaded = time.time()
        """When the configuration in force was read; Unix time."""
        self.problems = 0
        """How many mistakes the newest configuration has; it is in force if there is none."""
        self._load = load
        self._take = take

    @property
    def refusal(self) -> str:
        """What a status says of a newest configuration that has mistakes; empty where it has none."""
        found = counted(self.problems, "mistake")
        return f"; the new configuration has {found}, and the old one is in force" if self.problems else ""

    def reload(self) -> bool:
        """Read the configuration again, and log what is wrong with it; return whether it is in force now."""
        try:
            new = self._load()
            kept = replace(new, **{key: getattr(self.current, key) for key in _OF_THE_SOCKET})
            self._take(kept)
        except ConfigError as error:
            return self._refuse(*map(str, error.mistakes))
        except OSError as error:
            return self._refuse(reason_of(error))
        for key in _OF_THE_SOCKET:
            if getattr(new, key) != getattr(kept, key):
                log.warning("%s has changed, and takes effect when the service is restarted", key)
        self.current, self.loaded, self.problems = kept, time.time(), 0
        log.info("the configuration was read again and is in force")
        return True

    def _refuse(self, *problems: str) -> bool:
        for problem in problems:
            log.error("%s", problem)
        log.error("the configuration was read again and is wrong; the last good one stays in force")
        self.problems = len(problems)
        return False
