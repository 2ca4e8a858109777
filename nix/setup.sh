#!/bin/sh
# What a bare machine lacks: Nix with its sandbox and flakes on, and in .venv the command with what its
# developers need; without that if called as `setup.sh command`.
set -eu
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*" >&2; }
log=setup.log
logged() {
  "$@" >>$log 2>&1 && return
  tail -n 5 $log >&2 || :
  say "failed: $*. The whole log is in $log; put that right, then try again"
  exit 3
}
flakes='experimental-features = nix-command flakes'

missing=
command -v nix >/dev/null || missing="nix-bin nix-setup-systemd"
python_is_new() { python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
python_is_new ||
  missing="$missing python3 python3-venv"
# Nix asks git for a checkout's files.
[ ! -e .git ] || command -v git >/dev/null || missing="$missing git"

if [ -n "$missing" ]; then
  if ! command -v apt-get >/dev/null; then
    say "missing: ${missing# }. Install Nix (https://nixos.org/download), Python 3.11 or newer and git, then try again"
    exit 3
  elif [ "$(id -u)" != 0 ]; then
    say "missing: ${missing# }. As root: apt-get install ${missing# }"
    exit 3
  fi
  say "installing ${missing# }"
  logged apt-get update -q
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  logged apt-get install -q -y --no-install-recommends $missing
  if ! python_is_new; then
    say "$(python3 --version 2>&1) is the newest here. Put 3.11 or newer on PATH as python3, then try again"
    exit 3
  fi
  case $missing in *nix-bin*)
    # Debian switches the sandbox off for what was broken in 2018; it works.
    mkdir -p /etc/nix
    touch /etc/nix/nix.conf
    sed -i -E '/^(sandbox|max-jobs|experimental-features) *=/d' /etc/nix/nix.conf
    printf '%s\n' 'sandbox = true' 'max-jobs = auto' "$flakes" >>/etc/nix/nix.conf
    ;;
  esac
fi

if ! said=$(NIX_CONFIG=$flakes nix eval --expr 1 2>&1); then
  case $said in
  *daemon-socket*)
    user=$(id -un)
    say "Nix's daemon does not answer $user: ${said##*error: }. As root: adduser $user nix-users; systemctl start nix-daemon. Then log in again"
    ;;
  *) say "$(command -v nix) has no flakes: $(nix --version 2>&1). Install Nix 2.8 or newer" ;;
  esac
  exit 3
elif ! nix eval --expr 1 >/dev/null 2>&1; then
  say "flakes are off, and on in this Makefile alone; for yourself: echo '$flakes' >>/etc/nix/nix.conf"
fi

if ! .venv/bin/python -c 'import sys' 2>/dev/null; then
  rm -rf .venv
  python3 -m venv .venv
fi
stamp=.venv/requirements
if cmp -s python/requirements.dev.txt $stamp; then
  : # which has the command, too
elif [ "${1:-}" = command ]; then
  if ! cmp -s python/requirements.txt $stamp; then
    say "installing the command into .venv"
    logged .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r python/requirements.txt
    # As pip's `-e` would do, which takes a build backend and seconds.
    echo "$PWD/python/src" >"$(echo .venv/lib/python3*/site-packages)/vllm-nix.pth"
    printf '#!%s\nimport sys\n\nfrom vllm_nix.cli import main\n\nsys.exit(main())\n' \
      "$PWD/.venv/bin/python" >.venv/bin/vllm-nix
    chmod +x .venv/bin/vllm-nix
    cp python/requirements.txt $stamp
  fi
else
  say "installing the command and its developers' tools into .venv"
  logged .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r python/requirements.dev.txt
  logged .venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e python
  rm -f .venv/lib/python3*/site-packages/vllm-nix.pth
  cp python/requirements.dev.txt $stamp
fi
