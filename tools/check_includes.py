#!/usr/bin/env python3
"""Fails when a file under src/ includes a header of a folder above its own on the ladder.

The ladder of CONTRIBUTING.md: a folder may include itself and the folders listed for it here.
"""
import pathlib
import re
import sys

LADDER = {
    "base": [],
    "tensor": ["base"],
    "formats": ["base", "tensor"],
    "text": ["base", "tensor"],
    "ops": ["base", "tensor"],
    "backends/cpu": ["base", "tensor", "formats", "ops"],
    "backends/cuda": ["base", "tensor", "formats", "ops"],
    "backends/plan": ["base", "tensor", "formats", "ops"],
    "models": ["base", "tensor", "formats", "text", "ops"],
    "diffusion": ["base", "tensor", "ops", "models"],
    "memory": ["base", "tensor", "ops", "backends/plan", "models"],
    "pipeline": ["base", "tensor", "formats", "text", "ops", "backends/cpu", "backends/cuda", "backends/plan", "models", "diffusion", "memory"],
    "compress": ["base", "tensor", "formats", "text", "ops", "backends/cpu", "backends/plan", "models", "diffusion", "memory", "pipeline"],
    "safety": ["base", "tensor", "formats", "text"],
    "editing": ["base", "tensor", "formats", "text"],
    "server": ["base", "tensor", "formats", "text", "safety", "editing", "pipeline"],
    "cli": ["base", "tensor", "formats", "text", "ops", "models", "diffusion", "memory", "pipeline", "compress", "safety", "editing", "server"],
}


def folder_of(path: str) -> str | None:
    return max((f for f in LADDER if path.startswith(f + "/")), key=len, default=None)


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    errors = []
    for file in sorted(p for p in root.rglob("*") if p.suffix in {".h", ".cc", ".cu", ".cuh"}):
        name = str(file.relative_to(root))
        folder = folder_of(name)
        if folder is None:
            errors.append(f"src/{name}: folder is not on the ladder of tools/check_includes.py")
            continue
        lines = file.read_text().splitlines()
        if len(lines) > 1000:
            errors.append(f"src/{name}: {len(lines)} lines, at most 1,000")
        for number, line in enumerate(lines, 1):
            match = re.match(r'#include "([^"]+)"', line)
            target = folder_of(match.group(1)) if match else None
            if target and target != folder and target not in LADDER[folder]:
                errors.append(f"src/{name}:{number}: {folder} includes {match.group(1)}, which is not below it")
    print("\n".join(errors) or "includes point down the ladder")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
