"""No two distributions own one file with different contents.

The one that was installed last won, and removing either breaks the other: `triton` and
`triton-ascend`, opencv and its headless twin, two builds of one library. Read from the RECORDs;
files that are equal in both, such as licences, are no fault.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok
from vllm_nix.verification.owners import owners


@check("ownership", "No file belongs to two distributions that disagree on it")
def ownership(context: Context) -> Iterator[Finding]:
    files, _ = owners(context)
    for path, claims in files.items():
        names = {claim.distribution.name for claim in claims}
        if len(names) > 1 and len({claim.entry.digest for claim in claims}) > 1:
            yield failed(
                f"owned by {' and '.join(sorted(names))}",
                where=str(path.relative_to(context.root)),
                expected="one owner, or equal contents",
                cure="keep one of them, then install it again: the last one installed won",
            )
    yield ok(f"{len(files)} files")
