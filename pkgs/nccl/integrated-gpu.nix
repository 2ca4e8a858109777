# Jetson's GPU is no PCI device, and NVML has no handle for it by PCI address: "nvmlDeviceGetHandleByPciBusId()
# failed", and with it every communicator. CUDA knows the device as well: its own number is taken then, and
# what only NVML reports (NVLink, fabrics) is not there. Checked against 2.20.5 to 2.29.7.
[
  {
    file = "src/init.cc";
    old = ''
      NCCLCHECK(ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev));
        NCCLCHECK(ncclNvmlDeviceGetIndex(nvmlDev, (unsigned int*)&comm->nvmlDev));
    '';
    new = ''
      if (ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev) == ncclSuccess) {
          NCCLCHECK(ncclNvmlDeviceGetIndex(nvmlDev, (unsigned int*)&comm->nvmlDev));
        } else {
          comm->nvmlDev = comm->cudaDev;
        }
    '';
  }
  {
    file = "src/init.cc";
    old = ''
      NCCLCHECK(ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev));
          info->fabricInfo.state = NVML_GPU_FABRIC_STATE_NOT_SUPPORTED;
          (void) ncclNvmlDeviceGetGpuFabricInfoV(nvmlDev, &info->fabricInfo);
    '';
    new = ''
      info->fabricInfo.state = NVML_GPU_FABRIC_STATE_NOT_SUPPORTED;
          if (ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev) == ncclSuccess) {
            (void) ncclNvmlDeviceGetGpuFabricInfoV(nvmlDev, &info->fabricInfo);
          }
    '';
  }
  {
    file = "src/graph/xml.cc";
    old = "NCCLCHECK(ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev));";
    new = "if (ncclNvmlDeviceGetHandleByPciBusId(busId, &nvmlDev) != ncclSuccess) nvmlDev = NULL;";
  }
  {
    file = "src/graph/xml.cc";
    old = "NCCLCHECK(ncclNvmlDeviceGetIndex(nvmlDev, (unsigned int*)&dev));";
    new = ''
      if (nvmlDev == NULL) {
            const char* busId;
            NCCLCHECK(xmlGetAttr(pciNode, "busid", &busId));
            CUDACHECK(cudaDeviceGetByPCIBusId(&dev, busId));
          } else {
            NCCLCHECK(ncclNvmlDeviceGetIndex(nvmlDev, (unsigned int*)&dev));
          }'';
  }
]
