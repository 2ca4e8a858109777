# What compute capabilities are called, and what compiles for them.
let
  inherit (import ../../nix/lib) cuda;
  refuses = value: !(builtins.tryEval (builtins.deepSeq value value)).success;
in
{
  "each spelling" = {
    expr =
      map
        (
          spell:
          spell [
            "8.7"
            "12.0"
          ]
        )
        [
          cuda.archList
          cuda.archNumbers
          (map cuda.sm)
          cuda.gencode
        ];
    expected = [
      "8.7;12.0"
      "87;120"
      [
        "sm_87"
        "sm_120"
      ]
      "-gencode=arch=compute_87,code=sm_87 -gencode=arch=compute_120,code=sm_120"
    ];
  };
  "what is no capability is spelled nowhere" = {
    expr =
      map
        (
          spell:
          refuses (spell [
            "8.7"
            "8.8"
          ])
        )
        [
          cuda.archList
          cuda.archNumbers
          cuda.gencode
        ];
    expected = [
      true
      true
      true
    ];
  };
  "Jetson's GPU is no PCI device before Thor" = {
    expr =
      map
        (capability: [
          (cuda.isJetson capability)
          (cuda.isPci capability)
        ])
        [
          "7.2"
          "8.6"
          "8.7"
          "11.0"
          "12.1"
        ];
    expected = [
      [
        true
        false
      ]
      [
        false
        true
      ]
      [
        true
        false
      ]
      [
        true
        true
      ]
      [
        false
        true
      ]
    ];
  };
  "from the first release of nvcc that knows it to the last" = {
    expr =
      map
        (
          toolkit:
          builtins.filter (cuda.canCompile toolkit) [
            "7.0"
            "10.1"
            "10.3"
            "11.0"
            "12.1"
          ]
        )
        [
          "12.8"
          "12.9"
          "13.0"
        ];
    expected = [
      [
        "7.0"
        "10.1"
      ]
      [
        "7.0"
        "10.1"
        "10.3"
        "12.1"
      ]
      [
        "10.3"
        "11.0"
        "12.1"
      ]
    ];
  };
}
