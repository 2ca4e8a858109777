# A program written in Python: its scripts find its dependencies by themselves.
{ lib, buildPythonPackage }:
arguments:
let
  asApplication = attributes: attributes // { isApplication = true; };
in
buildPythonPackage (
  if lib.isFunction arguments then final: asApplication (arguments final) else asApplication arguments
)
