"""A program that swaps folders, files and links in a workspace as quickly as it can, until it is killed.

    racer.py WORKSPACE OUTSIDE

``d`` is a folder, a link out and a link within in turn; so are the file and the folder in it. Says ``racing`` once
it does. Others write there too, so any step may fail.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path


def main(workspace: Path, outside: Path) -> None:
    os.chdir(workspace)
    for place in (Path("kept"), Path("kept/deep")):
        place.mkdir()
        (place / "file").write_bytes(b"inside")
    up = os.path.relpath(outside, workspace)
    sys.stdout.write("racing\n")
    sys.stdout.flush()
    for target in cycle((str(outside), up, "/agent/kept", "kept", f"/agent/../{up}", "/proc/self/cwd")):
        for step in steps(target):
            with contextlib.suppress(OSError):
                step()


def steps(target: str) -> list[Callable[[], object]]:
    link, folder, old, new = Path("link"), Path("d"), Path("old"), Path("new")
    return [
        lambda: link.symlink_to(target),
        lambda: folder.rename(old),
        lambda: link.rename(folder),
        lambda: shutil.rmtree(old),
        folder.unlink,
        folder.mkdir,
        lambda: new.write_bytes(b"inside"),
        lambda: new.rename(folder / "file"),  # writing to it might follow a link
        lambda: link.symlink_to(f"{target}/file"),
        lambda: link.rename(folder / "file"),
        lambda: (folder / "deep").symlink_to(target),
        link.unlink,
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
