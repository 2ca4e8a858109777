"""What libraries carry, as JSON; with a device's verdicts if one is named. Keys are only added."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_nix.gpu.inventory import RUNS
from vllm_nix.gpu.report import Row, shown

if TYPE_CHECKING:
    from vllm_nix.gpu.compat import Device
    from vllm_nix.gpu.fatbin import Fatbin


def as_json(rows: Sequence[Row], device: "Device | None", by_fatbin: bool) -> str:
    document: dict[str, object] = {"schema": 2}
    if device is not None:
        document["device"] = {
            "name": device.name,
            "capability": str(device.capability),
            "cuda": device.cuda,
            "ptx_isa": device.ptx_isa,
        }
    document["libraries"] = [_json(row, device, by_fatbin) for row in rows]
    return json.dumps(document, indent=2)


def _json(row: Row, device: "Device | None", by_fatbin: bool) -> dict[str, object]:
    library = row.library
    found: dict[str, object] = {
        "path": shown(library.path),
        "code": [
            {"role": role, "kind": one.kind, "arch": one.arch, "isa": one.isa, "count": count}
            for role, code in row.code.items()
            for one, count in code.items()
        ],
        "damage": library.damage,
    }
    if row.judgement:
        found["verdict"] = row.judgement.verdict
        found["verdicts"] = row.judgement.counts
        found["why"] = row.judgement.why
    if by_fatbin:
        found["fatbins"] = [_fatbin_json(one, device) for one in library.fatbins]
    return found


def _fatbin_json(fatbin: "Fatbin", device: "Device | None") -> dict[str, object]:
    found: dict[str, object] = {
        "offset": fatbin.offset,
        "size": fatbin.size,
        "section": fatbin.section,
        "member": fatbin.member,
        "role": fatbin.role,
        "entries": [
            {
                "offset": entry.offset,
                "kind": entry.kind,
                "arch": entry.arch,
                "version": "{}.{}".format(*entry.version),
                "compression": entry.compression,
                "size": entry.size,
                "uncompressed_size": entry.uncompressed_size,
                "name": entry.name,
                "kernels": entry.kernels,
            }
            for entry in fatbin.entries
        ],
    }
    if device is not None:
        from vllm_nix.gpu.compat import judge

        found["verdict"] = judge(fatbin, device) if fatbin.role in RUNS else None
    return found
