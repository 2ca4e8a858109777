"""How files are shared out among clients."""

from vllm_nix.fetching.fetch import LARGE, MOST_FILES, TOGETHER, batches
from vllm_nix.fetching.sources import DebSource, Source, WheelSource


def wheel(name: str, size: int | None, index: str | None = None, version: str = "1") -> WheelSource:
    return WheelSource(
        file=f"{name}-{version}-py3-none-any.whl",
        sha256="0" * 64,
        size=size,
        name=name,
        version=version,
        python="3.11",
        index=index,
    )


def deb(name: str, suite: str = "bookworm") -> Source:
    return DebSource(
        file=name, sha256="0" * 64, size=1, pool_path=name, suite=suite, component="main"
    )


def test_each_file_is_in_one_batch_and_large_ones_start_first() -> None:
    files: list[Source] = [wheel(f"w{n}", n << 20) for n in range(30)]
    files += [deb(f"d{n}") for n in range(60)]
    groups = batches(files)
    assert sorted(file.file for group in groups for file in group) == sorted(f.file for f in files)
    assert [group[0].size for group in groups[:13]] == [n << 20 for n in range(29, 16, -1)]
    for group in groups:
        assert len({type(file) for file in group}) == 1
        assert len(group) == 1 or sum(file.size or 0 for file in group) <= TOGETHER
        assert len(group) <= MOST_FILES


def test_what_has_an_index_of_its_own_or_is_large_is_alone() -> None:
    special = wheel("torch", 1, "https://index.example")
    large = wheel("large", LARGE + 1)
    groups = batches([wheel("a", None), special, wheel("b", 1), large])
    assert [special] in groups
    assert [large] in groups
    assert len(groups) == 3


def test_two_versions_of_a_package_are_never_asked_of_one_client() -> None:
    files = [wheel("a", 1), wheel("a", 2, version="2"), wheel("b", 1), wheel("b", 1, version="2")]
    for group in batches(files):
        names = [file.name for file in group if isinstance(file, WheelSource)]
        assert len(names) == len(set(names))


def test_suites_may_have_different_mirrors() -> None:
    groups = batches([deb("a"), deb("b", "trixie"), deb("c")])
    assert sorted([file.file for file in group] for group in groups) == [["a", "c"], ["b"]]
