# Type: AttrSet -> String -> AttrSet -> AttrSet
# Checks what a target's parameters are to one another (targets/rules.toml): returns the data, or
# throws the first fault. The data has passed the schema. vllm_nix.targets.rules says the same.
{ cuda, rules }:
file: data:
let
  inherit (builtins)
    any
    attrNames
    compareVersions
    concatStringsSep
    elem
    filter
    head
    isList
    stringLength
    substring
    ;
  fault = text: throw "${file}: ${text}";
  public = version: head (builtins.split "[+]" version); # PEP 440: without the local label
  label = version: substring (stringLength (public version)) (-1) version; # "+cpu"

  inherit (data) torch vllm;
  torchOf = rules.torch-of.${vllm.distribution};
  wantedTorch =
    if rules.pure-devices ? ${vllm.device} then
      public torch.version
    else
      torchOf.${vllm.version}
        or (fault "vllm.version: no torch is known for ${vllm.distribution} ${vllm.version}; known releases: ${concatStringsSep ", " (attrNames torchOf)}");
  wantedTriton =
    rules.triton-of.${public torch.version}
    or (fault "triton.version: no triton is known for torch ${torch.version}; known torch releases: ${concatStringsSep ", " (attrNames rules.triton-of)}");

  plugin = data.vllm-ascend.version or "";
  goesWith = rules.vllm-ascend.${plugin} or { };
  strays = filter (key: !elem goesWith.${key} (values key)) (attrNames goesWith);
  stray = head strays;
  orNothing = text: if text == "" then "nothing" else text;

  capabilities = data.cuda.capabilities or [ ];
  jetson = filter cuda.isJetson capabilities;
  desktop = filter (capability: !cuda.isJetson capability) capabilities;
  foreign = filter (system: system != "aarch64-linux") data.systems;

  inherit (data.cuda) toolkit;
  uncompilable = filter (capability: !cuda.canCompile toolkit capability) capabilities;
  range = row: if row ? last then "${row.first} to ${row.last} can" else "${row.first} and newer can";

  # The value of a dotted key, as a list; [ ] where the target has none.
  values =
    key:
    let
      value = builtins.foldl' (table: name: table.${name} or { }) data (
        filter builtins.isString (builtins.split "[.]" key)
      );
    in
    if value == { } then
      [ ]
    else if isList value then
      value
    else
      [ value ];
  holds =
    condition:
    let
      wanted = builtins.elemAt condition 1;
      found = values (head condition);
    in
    if substring 0 2 wanted == "< " then
      any (value: compareVersions value (substring 2 (-1) wanted) < 0) found
    else if substring 0 3 wanted == ">= " then
      any (value: compareVersions value (substring 3 (-1) wanted) >= 0) found
    else if substring 0 1 wanted == "+" then
      any (value: substring 0 (stringLength wanted) (label value) == wanted) found
    else
      elem wanted found;
  refused = filter (rule: builtins.all holds rule.when && !any holds rule.unless) rules.refuse;
in
if public torch.version != wantedTorch then
  fault "torch.version: ${vllm.distribution} ${vllm.version} is compiled against torch ${wantedTorch}, not ${torch.version}"
else if strays != [ ] then
  fault "${stray}: vllm-ascend ${plugin} goes with ${goesWith.${stray}}, not ${orNothing (builtins.concatStringsSep "" (values stray))}"
else if data ? triton && data.triton.version != wantedTriton then
  fault "triton.version: torch ${torch.version} imports triton ${wantedTriton}, not ${data.triton.version}"
else if jetson != [ ] && desktop != [ ] then
  fault "cuda.capabilities: ${head jetson} is Jetson's and ${head desktop} is not; one build cannot serve both"
else if jetson != [ ] && foreign != [ ] then
  fault "systems: Jetson's capability ${head jetson} is for aarch64-linux, not ${head foreign}"
else if uncompilable != [ ] then
  fault "cuda.capabilities: CUDA ${toolkit} cannot compile for ${head uncompilable}; ${
    range rules.capabilities.${head uncompilable}
  }"
else if refused != [ ] then
  fault (head refused).because
else
  data
