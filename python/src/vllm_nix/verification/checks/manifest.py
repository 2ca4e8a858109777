"""The environment is of the target that was asked for, and its wheels are still in the store.

A Nix build of this project says in share/vllm-nix/target.json what it was made of: the target, its
parameters, and each wheel with its path. The wheels must be there, as they are not after a garbage
collection that an unregistered link did not stop. Other environments have no manifest.
"""

from collections.abc import Iterator

from vllm_nix.verification.check import Context, Finding, check, failed, ok


@check("manifest", "The manifest names this target, and wheels that are there")
def manifest(context: Context) -> Iterator[Finding]:
    recorded = context.wheels()
    if context.target and context.target != recorded.target:
        yield failed(
            f"target {recorded.target}",
            expected=f"target {context.target}",
            cure=f"build .#vllm-{context.target}, or verify with --target {recorded.target}",
        )
    for wheel in recorded.wheels:
        if not wheel.path.exists():
            yield failed(
                f"{wheel.name} {wheel.version} is gone",
                where=str(wheel.path),
                cure="nix-store --realise it, or build the environment again",
            )
    yield ok(f"target {recorded.target}, {len(recorded.wheels)} wheels")
