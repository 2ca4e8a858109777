# A group as a package: what nixpkgs' packages carry besides their store path.
{ lib }:
name: drv:
drv
// {
  pname = name;
  meta = {
    inherit name;
    mainProgram =
      {
        gnugrep = "grep";
        gnumake = "make";
        gnused = "sed";
        gnutar = "tar";
        python311 = "python3.11";
        util-linux = "lscpu";
      }
      .${name} or name;
    platforms = lib.platforms.linux;
  };
}
