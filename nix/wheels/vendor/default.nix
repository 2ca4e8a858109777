# Type: { whose, of, rows, versions, meta ? { } } -> { file, wheel }
# Files that `whose` servers alone hand out, each by its published hash: on the embedded base the user adds
# them, on nixpkgs they come from there. `rows` is where they are listed, and where a hash that nobody has
# published belongs. `versions` has those of the other wheels, which a wheel may require.
{
  providedFile ? null,
  fetchurl,
  lib,
  python,
  runCommandLocal,
  stdenv,
  target,
}:
{
  whose,
  of,
  rows,
  versions,
  meta ? { },
}:
let
  isAdded = "then run: vllm-nix fetch ${target.name} --system ${stdenv.hostPlatform.system} --from FOLDER";

  # Type: String -> { version, file ? null, sha256 ? null, ... } -> Path
  # Of a wheel whose tags are not known, `file` is missing.
  file =
    place: entry:
    let
      name = entry.file or "${baseNameOf place}-${entry.version}";
      url = "${place}/${lib.replaceStrings [ "+" ] [ "%2B" ] name}";
    in
    if !(entry ? sha256) then
      runCommandLocal name { inherit meta; } ''
        echo "${name} of ${of} is ${whose} to hand out, and has no published hash: download it from ${place}/, write its ${
          lib.optionalString (!entry ? file) "name (file) and its "
        }sha256sum into ${rows}, ${isAdded}"
        exit 1
      ''
    else if providedFile != null then
      providedFile {
        inherit name;
        inherit (entry) sha256;
        sentence = "not in the store; it is ${whose} to hand out: ${url}; ${isAdded}";
      }
    else
      fetchurl {
        inherit (entry) sha256;
        inherit meta name url;
      };

  # What a wheel may require: another by its version, and by name alone what the target excludes or
  # overrides.
  PACKAGES = builtins.toJSON {
    inherit versions;
    settled = target.wheels.exclude or [ ] ++ target.wheels.override or [ ];
  };
in
{
  inherit file;

  # Type: String -> String -> { version, requires, ... } -> Path
  wheel =
    place: name: entry:
    let
      src = file place entry;
      known =
        entry.file or "${lib.replaceStrings [ "-" ] [ "_" ] name}-${entry.version}-py3-none-any.whl";
    in
    runCommandLocal known
      {
        inherit meta PACKAGES;
        PYTHONPATH = "${python.pkgs.packaging}/${python.sitePackages}";
        nativeBuildInputs = [ python ];
      }
      ''
        ${python.interpreter} ${./check_requirements.py} ${src} ${known} ${rows} ${target.name}
        ln -s ${src} $out
      ''
    // {
      inherit name;
      inherit (entry) version;
      file = known;
      # For the resolver of locks alone: no file of the vendor's, and in no environment.
      metadata = runCommandLocal known { } ''
        ${python.interpreter} ${./metadata_wheel.py} $out ${name} ${entry.version} ${lib.escapeShellArgs entry.requires}
      '';
    };
}
