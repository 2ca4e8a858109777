# The library's tests in the sandbox, but for those that run Nix, need a network or take long.
{
  lib,
  python,
  runCommandCC,
}:
let
  hasElftools = python.pkgs ? pyelftools;
  interpreter = python.withPackages (
    packages: import ./test-dependencies.nix packages ++ lib.optional hasElftools packages.pyelftools
  );
  without = [
    "fetching" # asks pip and apt
    "locks/test_lock.py" # asks uv
    "locks/test_outdated.py" # asks pip
    "locks/test_registry.py"
    "test_store.py::test_a_daemon_that_is_out_of_reach" # asks Nix
    "test_project.py::test_importing_it_imports_nothing_else" # wants it installed
  ]
  ++ lib.optional (!hasElftools) "binaries/test_elf.py::test_agrees_with_pyelftools_on_real_files"
  # tarfile's filters
  ++ lib.optional (lib.versionOlder python.version "3.11.4") "test_packaging.py";
  # By its path, with its own PATH where there is none.
  wantShell = [
    "cli/test_demo.py"
    "test_process.py"
  ];
  deselect = lib.concatMapStringsSep " " (test: "--deselect python/tests/${test}");
in
runCommandCC "vllm-nix-tests" { nativeBuildInputs = [ interpreter ]; } ''
  cp -r --no-preserve=mode ${import ./repository.nix} repository
  cd repository
  export HOME=$TMPDIR PYTHONPATH=$PWD/python/src
  # Upstream's Nix gives a sandbox /bin/sh, Debian's does not: the scripts that tests write get another.
  if [[ ! -x /bin/sh ]]; then
    grep -rl /bin/sh python/tests | xargs sed -i "/'exec'/!s|/bin/sh|$SHELL|"
    withoutShell="${deselect wantShell}"
  fi
  python -m pytest -p no:cacheprovider -c python/pyproject.toml --rootdir . \
    -m 'not nix and not network and not slow' ${deselect without} ''${withoutShell-} python/tests | tee $out
  [[ ''${PIPESTATUS[0]} == 0 ]]
''
