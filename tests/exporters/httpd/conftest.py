from pathlib import Path

import pytest

from exporters.httpd.support import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority in ``tmp_path`` that has issued server.pem and server.key."""
    authority = Authority(tmp_path, "ca")
    authority.issue("server")
    return authority
