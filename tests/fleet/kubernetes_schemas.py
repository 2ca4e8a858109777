"""Holds manifests against the schemas that Kubernetes publishes, by jsonschema.

    kubernetes_schemas.py WHEEL FILE...

WHEEL is kubernetes-validate's, which has them for each release. The strict ones: no unknown field. A file
is of YAML documents. A LeaderWorkerSet's pods are Kubernetes's; what is its own stands below, or in the
CRD that VLLM_NIX_LWS_CRD names. Prints the faults; exit code 1 if there are any.
"""

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

RELEASES = ("1.30.0", "1.37.0")  # what is still run, and the newest that the wheel has


def main() -> int:
    archive, *files = map(Path, sys.argv[1:])
    faults = [
        f"{file.name}: {release}: {fault}"
        for release in RELEASES
        for definitions in [read_definitions(archive, release)]
        for file in files
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        for fault in check(document, definitions)
    ]
    print("\n".join(faults), end="")
    return 1 if faults else 0


def read_definitions(archive: Path, release: str) -> dict[str, Any]:
    name = f"kubernetes_validate/kubernetes-json-schema/v{release}-local-strict/_definitions.json"
    with zipfile.ZipFile(archive) as wheel:
        text = wheel.read(name).decode().replace("/api/_definitions.json#", "#")
    found: dict[str, Any] = json.loads(text)["$defs"]
    return found


def check(document: Any, definitions: dict[str, Any]) -> Iterator[str]:
    version, kind = document["apiVersion"], document["kind"]
    if not (schema := schema_of(version, kind, definitions)):
        yield f"{version} {kind} is none of Kubernetes's"
        return
    validator = jsonschema.Draft202012Validator({**schema, "$defs": definitions})
    for error in validator.iter_errors(document):
        yield f"{kind}: {error.json_path}: {error.message[:300]}"


def schema_of(version: str, kind: str, definitions: dict[str, Any]) -> Any:
    if kind == "LeaderWorkerSet":
        return leader_worker_set()
    group, _, number = version.rpartition("/")
    name = f"io.k8s.api.{group or 'core'}.{number}.{kind}"
    return {"$ref": f"#/$defs/{name}"} if name in definitions else {}


def leader_worker_set() -> Any:
    if crd := os.environ.get("VLLM_NIX_LWS_CRD"):
        (version,) = (
            each
            for each in yaml.safe_load(Path(crd).read_text(encoding="utf-8"))["spec"]["versions"]
            if each["name"] == "v1"
        )
        return strict(version["schema"]["openAPIV3Schema"])
    template = {"$ref": "#/$defs/io.k8s.api.core.v1.PodTemplateSpec"}
    metadata = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    restart = ["Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]
    return strict(
        {
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": {"const": "leaderworkerset.x-k8s.io/v1"},
                "kind": {"const": "LeaderWorkerSet"},
                "metadata": metadata,
                "spec": {
                    "required": ["leaderWorkerTemplate"],
                    "properties": {
                        "replicas": {"type": "integer"},
                        "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
                        "leaderWorkerTemplate": {
                            "required": ["workerTemplate"],
                            "properties": {
                                "size": {"type": "integer", "minimum": 1},
                                "restartPolicy": {"enum": restart},
                                "leaderTemplate": template,
                                "workerTemplate": template,
                            },
                        },
                    },
                },
            },
        }
    )


def strict(schema: Any) -> Any:
    """The schema of a CRD, in which a field that it does not name is a fault: a server would drop it."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: {name: strict(each) for name, each in value.items()}
        if key == "properties"
        else strict(value)
        for key, value in schema.items()
    }
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = "properties" in schema and "additionalProperties" not in schema
    return {**inner, "additionalProperties": False} if closed else inner


if __name__ == "__main__":
    sys.exit(main())
