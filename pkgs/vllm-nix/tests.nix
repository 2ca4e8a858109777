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
    "locks/test_registry.py" # asks pip
    "test_store.py::test_a_daemon_that_is_out_of_reach" # asks Nix
    "test_project.py::test_importing_it_imports_nothing_else" # wants it installed
  ]
  ++ lib.optional (!hasElftools) "binaries/test_elf.py::test_agrees_with_pyelftools_on_real_files"
  # tarfile's filters
  ++ lib.optional (lib.versionOlder python.version "3.11.4") "test_packaging.py";
  # Upstream's Nix gives a sandbox /bin/sh, Debian's does not.
  wantShell = [
    "test_process.py"
    "verification/test_ascend.py"
    "verification/test_faults.py"
    "verification/test_gpu_faults.py"
    "verification/test_hostile.py"
    "verification/test_machine.py"
  ];
  deselect = lib.concatMapStringsSep " " (test: "--deselect python/tests/${test}");
in
runCommandCC "vllm-nix-tests" { nativeBuildInputs = [ interpreter ]; } ''
  cp -r --no-preserve=mode ${import ./repository.nix} repository
  cd repository
  export HOME=$TMPDIR PYTHONPATH=$PWD/python/src
  [[ -x /bin/sh ]] || withoutShell="${deselect wantShell}"
  python -m pytest -p no:cacheprovider -c python/pyproject.toml --rootdir . \
    -m 'not nix and not network and not slow' ${deselect without} ''${withoutShell-} python/tests | tee $out
  [[ ''${PIPESTATUS[0]} == 0 ]]
''
