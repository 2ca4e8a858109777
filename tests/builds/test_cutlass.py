"""CUTLASS as vLLM's CMakeLists.txt uses it: two variables, the headers, and the generator's library."""

import pytest

from tests.conftest import Nix

pytestmark = pytest.mark.nix

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(user NONE)
include(FetchContent)
FetchContent_Declare(cutlass SOURCE_DIR ${CUTLASS})
FetchContent_MakeAvailable(cutlass)
foreach(header ${CUTLASS_INCLUDE_DIR}/cute/tensor.hpp ${CUTLASS_TOOLS_UTIL_INCLUDE_DIR}/cutlass/util/device_memory.h)
  if(NOT EXISTS ${header})
    message(FATAL_ERROR "no ${header}")
  endif()
endforeach()
"""


@pytest.mark.parametrize("version", ["3.5.1", "3.6.0", "3.7.0", "3.8.0"])
def test_what_vllm_takes_from_it(nix: Nix, version: str) -> None:
    numbers = nix.build(
        f"""
        with import ./nix/debian {{ overlays = [ (import ./overlays) ]; }};
        let cutlass = vllmPackages.jetson.cutlass.override {{ version = "{version}"; }}; in
        runCommand "uses-cutlass" {{ nativeBuildInputs = [ cmake ninja python311 ]; }} ''
          cp ${{writeText "CMakeLists.txt" ''{PROJECT.replace("${", "''${")}''}} CMakeLists.txt
          cmake -G Ninja -DCUTLASS=${{cutlass}} -B build .
          PYTHONPATH=${{cutlass}}/python python3 -c \\
            'import cutlass_library as c; assert c.DataTypeSize[c.DataType.bf16] == 16'
          sed -n 's/^#define CUTLASS_\\(MAJOR\\|MINOR\\|PATCH\\) //p' \\
            ${{cutlass}}/include/cutlass/version.h > $out
        ''
        """
    )
    assert numbers.read_text().split() == version.split(".")


def test_another_release_is_one_sentence(nix: Nix) -> None:
    message = nix.fail(
        """
        with import ./nix/debian { overlays = [ (import ./overlays) ]; };
        vllmPackages.jetson.cutlass.override { version = "9.9.9"; }
        """
    )
    assert "no source of nvidia-cutlass 9.9.9.0 is known; there are: 3.5.1.0, 3.6.0.0" in message
