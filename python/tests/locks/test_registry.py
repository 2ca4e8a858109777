"""The user's pip configuration, read and handed to uv."""

from pathlib import Path

import pytest

from vllm_nix.errors import Error
from vllm_nix.locks.registry import (
    parse_configuration,
    pip_configuration,
    uv_environment,
    uv_options,
)


def test_the_environment_outranks_download_outranks_global() -> None:
    listing = """\
:env:.index-url='https://env.example/simple'
download.find-links='/wheels'
global.find-links='/other'
global.index-url='https://global.example/simple'
install.index-url='https://install.example/simple'
"""
    assert parse_configuration(listing) == {
        "index-url": "https://env.example/simple",
        "find-links": "/wheels",
    }


def test_uv_looks_where_pip_looks() -> None:
    configuration = {
        "index-url": "https://me:secret@mirror.example/simple",
        "extra-index-url": "https://a.example\nhttps://b.example",
        "no-index": "true",
        "timeout": "60",
        "cert": "/etc/cert.pem",
    }
    assert uv_options(configuration) == ["--index-strategy", "unsafe-best-match", "--no-index"]
    assert uv_environment(configuration) == {
        "UV_DEFAULT_INDEX": "https://me:secret@mirror.example/simple",
        "UV_EXTRA_INDEX_URL": "https://a.example https://b.example",
        "SSL_CERT_FILE": "/etc/cert.pem",
    }


@pytest.mark.usefixtures("quiet_pip")
def test_pip_itself_says_what_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nfind-links =\n  /a\n  /b\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "mirror.example")
    variables = uv_environment(pip_configuration())
    assert {name: value for name, value in variables.items() if name.startswith("UV_")} == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INSECURE_HOST": "mirror.example",
    }


@pytest.mark.usefixtures("quiet_pip")
def test_a_broken_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("index-url = https://mirror.example\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    with pytest.raises(Error, match=rf"pip cannot read its configuration: .*{file}") as error:
        pip_configuration()
    assert "\n" not in str(error.value)
