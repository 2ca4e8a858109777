from pathlib import Path

import pytest
from registry import Publish, make_wheel, write_index


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet_pip: None) -> Publish:
    """Publishes a wheel in the index that pip is configured with."""
    files: list[Path] = []
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())

    def publish(name: str, version: str, tag: str = "py3-none-any", requires: str = "") -> Path:
        file = make_wheel(tmp_path / "wheels", name, version, tag, requires.split())
        files.append(file)
        write_index(tmp_path / "index", files)
        return file

    return publish
