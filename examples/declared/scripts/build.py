"""Build dist/shop.pyz and say how far it is."""

import compileall
import pathlib
import shutil
import sys
import tempfile
import zipapp


def main() -> int:
    profile = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        print("[1/3] copying", flush=True)
        shutil.copytree("shop", f"{directory}/shop")
        print("[2/3] compiling", flush=True)
        fine = compileall.compile_dir(directory, quiet=1, optimize=0 if profile == "debug" else 1)
        print("[3/3] packing", flush=True)
        pathlib.Path("dist").mkdir(exist_ok=True)
        zipapp.create_archive(directory, "dist/shop.pyz", main="shop.report:main")
    print(f"built dist/shop.pyz ({profile})")
    return 0 if fine else 1


sys.exit(main())
