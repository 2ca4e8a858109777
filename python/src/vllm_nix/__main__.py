import sys

from vllm_nix.cli import main

sys.exit(main())
