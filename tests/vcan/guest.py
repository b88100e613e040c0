"""A small machine with a kernel that has CAN: Debian's, in software emulation.

It sees this machine's files (9p), and what Python reads most from a disk image, which is much
quicker. Its clock is the emulated processor's: a busy machine makes a run longer for whoever
waits, and no time limit inside shorter.
"""

import gzip
import lzma
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

_MODULES: Final = (
    *("virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "9pnet_virtio", "9p"),
    *("can_raw", "can_isotp", "can_bcm", "can_gw", "vcan"),
)
_ROOT: Final = Path(__file__).parents[2]
#: Longest that the machine may run, in seconds.
_LIMIT_S: Final = 900
#: Of the standard library, what no test needs.
_LEFT_OUT: Final = shutil.ignore_patterns(
    "test", "tests", "idlelib", "site-packages", "dist-packages", "config-*", "*.a", "ensurepip"
)
_TOOLS: Final = ("qemu-system-x86_64", "busybox", "cpio", "mke2fs", "apt-get", "dpkg", "uv")


class GuestError(Exception):
    """A machine that cannot be made here, or that ended without a result."""


def run(folder: Path, *, setup: str, python: list[str]) -> int:
    """Boot, `setup` (shell), then Python with these arguments; returns its exit status."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        raise GuestError(f"{', '.join(missing)}: not installed")
    image = folder / "image"
    disk, binds = _disk(folder, image)
    kernel = _kernel(folder / "kernel")
    initramfs = _initramfs(folder, kernel, binds)
    status = folder / "status"
    work = folder / "work"
    script = folder / "script"
    script.write_text(
        f"""\
export PATH={os.environ["PATH"]} HOME=/root PYTHONDONTWRITEBYTECODE=1 CANOTA_FAIL_ON_SKIP=1
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONUNBUFFERED=1 PYTHONPATH={work}
export PYTEST_ADDOPTS=--basetemp=/run/pytest
{setup}
cd {work}
{folder}/venv/bin/python {" ".join(python)}
echo $? > {status}
"""
    )
    (vmlinuz,) = (kernel / "boot").glob("vmlinuz-*")
    subprocess.run(
        [
            *("qemu-system-x86_64", "-accel", "tcg,thread=single", "-icount", "shift=1,sleep=on"),
            *("-cpu", "max", "-m", "1G", "-nographic", "-no-reboot", "-nodefaults"),
            *("-serial", "stdio", "-kernel", str(vmlinuz), "-initrd", str(initramfs)),
            *("-append", f"console=ttyS0 panic=-1 quiet mitigations=off canota={script}"),
            *("-drive", f"file={disk},if=virtio,format=raw,readonly=on"),
            *("-fsdev", "local,id=root,path=/,security_model=none,multidevs=remap"),
            *("-device", "virtio-9p-pci,fsdev=root,mount_tag=host"),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=_LIMIT_S,
    )
    if not status.exists():
        raise GuestError("the machine ended without a result")
    return int(status.read_text())


def _disk(folder: Path, image: Path) -> tuple[Path, list[Path]]:
    """A file system with Python, its packages and this repository; where each is to be seen."""
    library = Path(sysconfig.get_path("stdlib"))
    binds = [library, folder / "venv", folder / "work"]
    for bind in binds:
        (image / bind.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(library, image / library.relative_to("/"), ignore=_LEFT_OUT, symlinks=True)
    subprocess.run(
        [
            *("uv", "sync", "--quiet", "--no-default-groups", "--group", "dev"),
            *("--no-install-project", "--python", sys.executable),
        ],
        cwd=_ROOT,
        env={**os.environ, "UV_PROJECT_ENVIRONMENT": str(folder / "venv")},
        check=True,
    )
    shutil.move(folder / "venv", image / (folder / "venv").relative_to("/"))
    work = image / (folder / "work").relative_to("/")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=_ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = _ROOT / name
        if source.is_file() and not name.startswith("docs/images/"):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, work / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "compileall", "-q", "-j", "0"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(image), str(image)),
        ],
        check=False,  # some packages ship files for other Pythons
        stdout=subprocess.DEVNULL,
    )
    for bind in binds:
        bind.mkdir(parents=True, exist_ok=True)
    used = sum(path.lstat().st_size + 4096 for path in image.rglob("*"))
    disk = folder / "disk"
    subprocess.run(
        [
            *("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0"),
            *("-d", str(image), str(disk), f"{used * 5 // 4 // 1024}k"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(image)
    return disk, binds


def _kernel(folder: Path) -> Path:
    """Debian's kernel package, unpacked and not installed."""
    folder.mkdir()
    found = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], check=True, capture_output=True, text=True
    ).stdout
    package = next(line.split()[-1] for line in found.splitlines() if "linux-image-" in line[3:])
    subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package],
        cwd=folder,
        check=True,
    )
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    return folder


def _initramfs(folder: Path, kernel: Path, binds: list[Path]) -> Path:
    """What finds the disks, and starts the script with this machine's root as its own."""
    tree = folder / "initramfs"
    for name in ("bin", "modules", "host", "image", "proc", "dev"):
        (tree / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", tree / "bin/busybox")
    names = _with_dependencies(kernel)
    for name, content in names.items():
        (tree / "modules" / f"{name}.ko").write_bytes(content)
    init = tree / "init"
    mounts = "\n".join(f"mount --bind /image{bind} /host{bind}" for bind in binds)
    init.write_text(
        f"""\
#!/bin/busybox sh
/bin/busybox --install /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for name in {" ".join(names)}; do insmod /modules/$name.ko; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose host /host
mount -t ext4 -o ro,noatime /dev/vda /image
{mounts}
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t devtmpfs dev /host/dev
mount -t tmpfs tmpfs /host/run
mkdir -p /host/dev/shm
mount -t tmpfs tmpfs /host/dev/shm
chroot /host /bin/bash $(sed -n 's/.*canota=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
sync
echo o > /proc/sysrq-trigger
sleep 60
"""
    )
    init.chmod(init.stat().st_mode | stat.S_IXUSR)
    entries = "\n".join(str(path.relative_to(tree)) for path in [tree, *sorted(tree.rglob("*"))])
    packed = subprocess.run(
        ["cpio", "--quiet", "--create", "--format=newc"],
        cwd=tree,
        input=entries.encode(),
        check=True,
        capture_output=True,
    ).stdout
    target = folder / "initramfs.gz"
    target.write_bytes(gzip.compress(packed, 1))
    return target


def _with_dependencies(kernel: Path) -> dict[str, bytes]:
    """The modules and what they need, in the order in which they can be loaded."""
    files = {
        path.name.partition(".")[0].replace("-", "_"): path
        for path in (kernel / "lib/modules").rglob("*.ko*")
    }
    loaded: dict[str, bytes] = {}

    def load(name: str) -> None:
        if name in loaded or name not in files:
            return  # there already, or part of the kernel
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        after = content.partition(b"\0depends=")[2].partition(b"\0")[0].decode()
        for needed in filter(None, after.split(",")):
            load(needed.replace("-", "_"))
        loaded[name] = content

    for name in _MODULES:
        load(name)
    return loaded
