//! Makes and boots the machine: kernel and modules from Debian's package,
//! busybox, this program and the libraries that it needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// In the order of loading.
const MODULES: [&str; 7] = [
    "soundcore",
    "core/snd",
    "core/snd-timer",
    "core/snd-pcm",
    "drivers/snd-aloop",
    "drivers/snd-dummy",
    "drivers/pcsp/snd-pcsp",
];

/// Where the machine has the engine.
pub(crate) const ENGINE: &str = "/engine";

/// The user beside root, and the group that sound cards are for.
pub(crate) const USER: u32 = 1000;
pub(crate) const AUDIO: u32 = 29;

/// Longer than any run; a machine that hangs is ended.
const LONGEST_S: &str = "240";

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mkdir -p /dev/shm
/bin/busybox mkdir -m 700 /tmp/run
export XDG_RUNTIME_DIR=/tmp/run HOME=/tmp
for module in soundcore snd snd-timer snd-pcm; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox insmod /modules/snd-aloop.ko index=0
/bin/busybox insmod /modules/snd-dummy.ko index=1
/bin/busybox insmod /modules/snd-pcsp.ko index=2
export V2M_TEST_VM_PART="guest $(/bin/busybox sed -n 's/.*only=\([^ ]*\).*/\1/p' /proc/cmdline)"
/test --exact part --nocapture 2>&1
/bin/busybox poweroff -f
"#;

fn run_command(command: &mut Command, what: &str) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{what}: {command:?}: {error}"));
    assert!(status.success(), "{what}: {command:?}: {status}");
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("alsa-vm")
}

/// The unpacked kernel package: its image and its modules.
fn kernel() -> (PathBuf, PathBuf) {
    let unpacked = directory().join("kernel");
    if !unpacked.join("boot").exists() {
        fs::create_dir_all(&unpacked).unwrap();
        let depends = Command::new("apt-cache")
            .args(["depends", "linux-image-amd64"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&depends.stdout).into_owned();
        let package = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: "))
            .expect("Debian's linux-image-amd64");
        run_command(
            Command::new("apt-get")
                .args(["download", package])
                .current_dir(directory()),
            "the kernel's package",
        );
        let deb = fs::read_dir(directory())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .unwrap();
        run_command(
            Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&unpacked),
            "unpacking the kernel",
        );
        fs::remove_file(deb).unwrap();
    }
    let only = |directory: PathBuf, start: &str| {
        let mut entries = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(start)
            })
            .unwrap()
    };
    let library = if unpacked.join("lib/modules").exists() {
        "lib/modules"
    } else {
        "usr/lib/modules"
    };
    (
        only(unpacked.join("boot"), "vmlinuz"),
        only(unpacked.join(library), ""),
    )
}

/// Puts a program into the machine, with the libraries that it needs.
fn install(program: &Path, root: &Path, name: &str) {
    run_command(
        Command::new("objcopy")
            .arg("--strip-debug")
            .arg(program)
            .arg(root.join(name)),
        "the program",
    );
    let libraries = Command::new("ldd").arg(program).output().unwrap();
    for word in String::from_utf8_lossy(&libraries.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let to = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(word, to).unwrap();
    }
}

/// Everything the machine sees, as an archive.
fn initramfs(modules: &Path) -> PathBuf {
    let root = directory().join("root");
    let _ = fs::remove_dir_all(&root);
    for part in ["bin", "modules"] {
        fs::create_dir_all(root.join(part)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
    for module in MODULES {
        let name = format!("{}.ko", module.rsplit('/').next().unwrap());
        let plain = modules.join("kernel/sound").join(format!("{module}.ko"));
        let packed = plain.with_extension("ko.xz");
        if plain.exists() {
            fs::copy(plain, root.join("modules").join(name)).unwrap();
        } else {
            let out = fs::File::create(root.join("modules").join(name)).unwrap();
            run_command(
                Command::new("xz").arg("-dc").arg(packed).stdout(out),
                "a module",
            );
        }
    }
    let test = std::env::current_exe().unwrap();
    install(&test, &root, "test");
    install(
        Path::new(env!("CARGO_BIN_EXE_v2m-engine")),
        &root,
        &ENGINE[1..],
    );
    fs::create_dir_all(root.join("usr/share")).unwrap();
    run_command(
        Command::new("cp")
            .args(["-r", "/usr/share/alsa"])
            .arg(root.join("usr/share")),
        "alsa-lib's configuration",
    );
    fs::create_dir_all(root.join("etc")).unwrap();
    let users = format!("root:x:0:0::/:/bin/sh\nlistener:x:{USER}:{AUDIO}::/tmp:/bin/sh\n");
    fs::write(root.join("etc/passwd"), users).unwrap();
    let groups = format!("root:x:0:\naudio:x:{AUDIO}:listener\n");
    fs::write(root.join("etc/group"), groups).unwrap();
    fs::write(root.join("init"), INIT).unwrap();
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let archive = directory().join("initramfs");
    let pack = format!(
        "cd {} && find . | cpio --quiet -o -H newc > {}",
        root.display(),
        archive.display()
    );
    run_command(Command::new("sh").args(["-c", &pack]), "the archive");
    archive
}

/// Boots and runs one scenario or `all`; what the machine wrote.
pub(crate) fn run(only: &str) -> String {
    fs::create_dir_all(directory()).unwrap();
    let (image, modules) = kernel();
    let archive = initramfs(&modules);
    let output = Command::new("timeout")
        .args([
            LONGEST_S,
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "768",
        ])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"])
        .arg(image)
        .arg("-initrd")
        .arg(archive)
        .arg("-append")
        .arg(format!("console=ttyS0 quiet panic=-1 only={only}"))
        .stdin(Stdio::null())
        .output()
        .expect("install qemu-system-x86");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
