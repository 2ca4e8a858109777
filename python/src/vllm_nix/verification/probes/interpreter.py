"""Says which interpreter this is. Runs in the environment, so: standard library only."""

import json
import os
import platform
import site
import sys
import sysconfig


def main() -> None:
    numbers = sys.implementation.version
    final = numbers.releaselevel == "final"
    level = "" if final else f"{numbers.releaselevel[0]}{numbers.serial}"
    answer = {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "prefix": sys.prefix,
        "binary": os.readlink("/proc/self/exe"),  # noqa: PTH115 -- before 3.9, Path has none
        "site-packages": sysconfig.get_path("platlib"),
        "scripts": sysconfig.get_path("scripts"),
        "path": sys.path,
        # None of a virtual environment's, unless it has the system's packages as well.
        "user-site": site.ENABLE_USER_SITE and site.getusersitepackages(),
        "library-path": os.environ.get("LD_LIBRARY_PATH", ""),
        "preload": os.environ.get("LD_PRELOAD", ""),
        "markers": {
            "implementation_name": sys.implementation.name,
            "implementation_version": "{}.{}.{}".format(*numbers[:3]) + level,
            "os_name": os.name,
            "platform_machine": platform.machine(),
            "platform_python_implementation": platform.python_implementation(),
            "platform_release": platform.release(),
            "platform_system": platform.system(),
            "platform_version": platform.version(),
            "python_full_version": platform.python_version(),
            "python_version": ".".join(platform.python_version_tuple()[:2]),
            "sys_platform": sys.platform,
        },
    }
    os.write(int(sys.argv[1]), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
