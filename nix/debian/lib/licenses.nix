builtins.mapAttrs
  (name: spdxId: {
    shortName = name;
    inherit spdxId;
    free = spdxId != null;
  })
  {
    asl20 = "Apache-2.0";
    bsd2 = "BSD-2-Clause";
    bsd3 = "BSD-3-Clause";
    gpl3Only = "GPL-3.0-only";
    gpl3Plus = "GPL-3.0-or-later";
    isc = "ISC";
    llvm-exception = "LLVM-exception";
    mit = "MIT";
    mpl20 = "MPL-2.0";
    ncsa = "NCSA";
    psfl = "Python-2.0";
    unfree = null;
    unfreeRedistributable = null;
  }
// {
  nvidiaCudaRedist = {
    shortName = "CUDA EULA";
    free = false;
    redistributable = true;
  };
}
