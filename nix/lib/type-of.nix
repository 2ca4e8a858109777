# Type: Any -> String
# A value's type as TOML and messages call it, with its article: "a table", "an integer".
value:
let
  type = builtins.typeOf value;
  names = {
    bool = "boolean";
    int = "integer";
    set = "table";
  };
in
if type == "int" then "an integer" else "a ${names.${type} or type}"
