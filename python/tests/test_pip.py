"""The user's pip configuration, read and handed to uv."""

from pathlib import Path

import pytest

from vllm_nix.errors import Error
from vllm_nix.pip import parse_configuration, pip_configuration, uv_environment, uv_options


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
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "https://a.example https://b.example",
        "no-index": "true",
        "timeout": "60",
        "cert": "/etc/cert.pem",
    }
    assert uv_options(configuration) == [
        *("--index-strategy", "unsafe-best-match"),
        *("--default-index", "https://mirror.example/simple"),
        *("--extra-index-url", "https://a.example", "--extra-index-url", "https://b.example"),
        "--no-index",
    ]
    assert uv_environment(configuration) == {"SSL_CERT_FILE": "/etc/cert.pem"}


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
    assert uv_options(pip_configuration())[2:] == [
        *("--default-index", "https://mirror.example/simple"),
        *("--find-links", "/a", "--find-links", "/b"),
        *("--allow-insecure-host", "mirror.example"),
    ]


@pytest.mark.usefixtures("quiet_pip")
def test_a_broken_configuration_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("index-url = https://mirror.example\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    with pytest.raises(Error, match=rf"pip cannot read its configuration: .*{file}") as error:
        pip_configuration()
    assert "\n" not in str(error.value)
