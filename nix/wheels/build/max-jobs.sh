# shellcheck shell=bash
# A setup hook: how many compilers run at once, from what each needs (memoryPerJob, such as "9 GiB")
# and what there is. A MAX_JOBS or NVCC_THREADS that is set already stays.
#
# Beware: vLLM's setup.py takes MAX_JOBS for all threads, and divides it by NVCC_THREADS.

# setMaxJobs [ROOT]: ROOT is where /proc and /sys lie.
setMaxJobs() {
  local cores=${NIX_BUILD_CORES:-0}
  if ((cores <= 0)); then cores=$(nproc); fi

  if [[ -z ${MAX_JOBS-} ]]; then
    MAX_JOBS=$cores
    if [[ -n ${memoryPerJob-} ]]; then
      local available needed
      available=$(availableMemory "${1-}")
      needed=$((${memoryPerJob% GiB} * 1024 * 1024))
      if ((available < needed)); then
        local tenths=$((available * 10 / 1024 / 1024))
        echo "too little memory: one compiler job needs $memoryPerJob, $((tenths / 10)).$((tenths % 10)) GiB are available;" \
          "free some, build on a larger machine, or set MAX_JOBS=1 to try all the same" >&2
        return 1
      fi
      if ((available / needed < cores)); then MAX_JOBS=$((available / needed)); fi
    fi
  fi

  # nvcc has something to do at once for several architectures only, and more than four threads
  # would need more memory than memoryPerJob.
  if [[ -z ${NVCC_THREADS-} ]]; then
    local wanted=${TORCH_CUDA_ARCH_LIST-}
    local -a architectures
    read -r -a architectures <<< "${wanted//;/ }"
    NVCC_THREADS=$((cores / MAX_JOBS))
    local most
    for most in 4 "${#architectures[@]}"; do
      if ((NVCC_THREADS > most)); then NVCC_THREADS=$most; fi
    done
    if ((NVCC_THREADS < 1)); then NVCC_THREADS=1; fi
  fi

  # What make, ninja and cmake go by.
  NIX_BUILD_CORES=$MAX_JOBS
  CMAKE_BUILD_PARALLEL_LEVEL=$MAX_JOBS
  export MAX_JOBS NVCC_THREADS NIX_BUILD_CORES CMAKE_BUILD_PARALLEL_LEVEL
  echo "MAX_JOBS=$MAX_JOBS NVCC_THREADS=$NVCC_THREADS"
}

# What can be used without swapping, in KiB: the kernel's estimate, or less if this control group,
# or one above it, has a limit.
availableMemory() {
  local root=$1 key value hierarchy group folder limit available
  while read -r key value _; do
    if [[ $key == MemAvailable: ]]; then available=$value; fi
  done < "$root/proc/meminfo"
  while IFS=: read -r hierarchy _ group; do
    if [[ $hierarchy == 0 ]]; then folder=$root/sys/fs/cgroup$group; fi
  done < "$root/proc/self/cgroup"
  while [[ ${folder-} == "$root/sys/fs/cgroup"* ]]; do
    if [[ -r $folder/memory.max ]]; then
      limit=$(< "$folder/memory.max")
      if [[ $limit != max ]] && ((limit / 1024 < available)); then available=$((limit / 1024)); fi
    fi
    folder=${folder%/*}
  done
  echo "$available"
}

preConfigureHooks+=(setMaxJobs)
