"""Print a script that completes this command line in your shell.

bash   eval "$(vllm-nix completion bash)"    in ~/.bashrc
zsh    eval "$(vllm-nix completion zsh)"     in ~/.zshrc
fish   vllm-nix completion fish > ~/.config/fish/completions/vllm-nix.fish
"""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    from vllm_nix.cli.shells import SHELLS

    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=" or ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    from vllm_nix import cli
    from vllm_nix.cli.shells import script

    print(script(args.shell, cli.parser()), end="")
    return 0
