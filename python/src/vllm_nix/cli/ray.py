"""Run Ray on this host, as one of several that are alike, for verl's trainings and others.

On each host, with its own rank from 0, which is the head. Hosts whose environments differ are refused,
and Ray ends on all when it ends on one. Options of `ray start` come after `--`.
"""

import argparse
import os
from pathlib import Path

from vllm_nix.cli.parsers import seconds
from vllm_nix.cli.serve import WAIT, say
from vllm_nix.errors import InputError
from vllm_nix.hosts.likeness import of_environment
from vllm_nix.hosts.network import with_port
from vllm_nix.serve.command import check_port, distribution_of
from vllm_nix.serve.flags import check_ray, network_variables, ray_variables, ray_words
from vllm_nix.serve.group import host_of, unset
from vllm_nix.version import __version__

PORT = 6379  # Ray's own default


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "vllm-nix ray ENV --nodes N --rank R --head HOST [options] [-- Ray's options]"
    parser.add_argument("environment", type=Path, metavar="ENV")
    parser.add_argument(
        "--nodes", type=int, metavar="N", required=True, help="how many hosts there are"
    )
    parser.add_argument(
        "--rank", type=int, metavar="R", required=True, help="this host's number, from 0"
    )
    parser.add_argument("--head", metavar="HOST", required=True, help="the address of rank 0")
    parser.add_argument(
        "--port",
        type=int,
        metavar="N",
        default=PORT,
        help=f"of the head; the next is used too ({PORT})",
    )
    parser.add_argument("--wait", type=seconds, default=300, metavar="S", help=WAIT)


def run(args: argparse.Namespace) -> int:
    from vllm_nix.hosts.together import Programs, run_together  # takes long to import

    if args.nodes < 2:
        raise InputError(f"--nodes {args.nodes}: one host needs no others; give 2 or more")
    program = args.environment.absolute() / "bin/ray"
    if not os.access(program, os.X_OK):
        raise InputError(f"{args.environment} is not an environment with Ray: it has no {program}")
    host = host_of(args.nodes, args.rank, args.head, args.port, here=True)
    check_ray(distribution_of(args.environment, "ray"), host.head)
    _, *options = ray_words(host.rank, host.head, host.port, host.address)
    words = [str(program), *options, *args.rest]
    address = with_port(host.head, host.port)
    if host.rank == 0:
        check_port(host.head, host.port)
    # By which gloo, NCCL and any release of vLLM since 0.5.1 find the network: verl's are for NVIDIA's GPUs.
    network = network_variables("0.7.0", "cuda", host.address, host.interface)
    programs = Programs(words) if host.rank else Programs((), words, (host.head, host.port))
    variables = unset(ray_variables() | network, {})
    facts = {"vllm-nix": __version__} | of_environment(args.environment)
    if host.rank == 0:
        say(f"when all are there, trainings find Ray by RAY_ADDRESS={address}")
    run_together(host.place, facts, programs, variables, args.wait, say)
    return 0
