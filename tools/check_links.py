#!/usr/bin/env python3
"""Fails when a Markdown file of the project links to, or shows, a file that is not there."""
import pathlib
import re
import subprocess
import sys


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    files = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
    missing = []
    for name in files:
        text = re.sub(r"```.*?```", "", (root / name).read_text(), flags=re.S)
        for target in re.findall(r'(?:src="|href="|\]\()([^")\s#]+)', text):
            if not re.match(r"[a-z]+:", target) and not (root / name).parent.joinpath(target).exists():
                missing.append(f"{name}: {target} is not there")
    print("\n".join(missing) or "every link leads somewhere")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
