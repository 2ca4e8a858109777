# Debian's packages put back as NVIDIA lays them out. nvcc's profile names folders of /usr there.
mkdir -p "$out/include"
cp -r usr/include/. "$out/include/"
if [[ -d usr/lib/nvidia-cuda-toolkit ]]; then
  mkdir -p "$out/bin" "$out/nvvm/bin"
  rm usr/bin/nvcc usr/bin/compute-sanitizer
  cp usr/bin/* usr/lib/nvidia-cuda-toolkit/bin/nvcc "$out/bin/"
  cp -r usr/lib/nvidia-cuda-toolkit/bin/crt "$out/bin/"
  cp usr/lib/nvidia-cuda-toolkit/bin/cicc "$out/nvvm/bin/"
  cat > "$out/bin/nvcc.profile" << 'END'
TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES =+ $(_SPACE_) "-L$(TOP)/lib/stubs" "-L$(TOP)/lib"
END
fi
