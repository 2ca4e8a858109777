# Type: { name, version, of } -> Path
# A wheel without code that gives a distribution a second name. vLLM reads its own version and its
# platform from the metadata of `vllm`; builds under another name die without it ("No package
# metadata was found for vllm"), or try to write it into the store ("Failed to infer device type").
{ python, runCommand }:
{
  name,
  version,
  of,
}:
let
  file = "${name}-${version}-py3-none-any.whl";
in
runCommand file
  {
    nativeBuildInputs = [ python ];
    passthru = { inherit name version file; };
  }
  ''
    ${python.interpreter} ${./alias.py} ${name} ${version} ${of} $out
  ''
