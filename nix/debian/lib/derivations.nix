# Parts of a package.
rec {
  getOutput = output: package: package.${output} or package.out or package;
  getBin = getOutput "bin";
  getDev = getOutput "dev";
  getLib = getOutput "lib";
  getInclude = getOutput "include";
  getExe' = package: program: "${getBin package}/bin/${program}";
  getExe =
    package:
    getExe' package (
      package.meta.mainProgram or package.pname or (builtins.parseDrvName package.name).name
    );
  getName =
    package:
    if builtins.isString package then
      (builtins.parseDrvName package).name
    else
      package.pname or (builtins.parseDrvName package.name).name;
  getVersion = package: package.version or (builtins.parseDrvName package.name).version;
}
