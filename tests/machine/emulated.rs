//! An emulated machine: kernel and modules from Debian's package, busybox, and what a
//! test puts beside them. No KVM is needed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How every machine begins.
const BEGIN: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mkdir -p /dev/shm
/bin/busybox mkdir -m 700 /tmp/run
export XDG_RUNTIME_DIR=/tmp/run HOME=/tmp";

pub(crate) struct Machine {
    directory: PathBuf,
    kernel: PathBuf,
}

impl Machine {
    /// With these modules of the kernel, named by their paths without the ending. What it
    /// is made of stays under `target/tmp/NAME`.
    pub(crate) fn new(name: &str, modules: &[String]) -> Self {
        let directory = scratch(name);
        let (kernel, all) = kernel();
        let machine = Self { directory, kernel };
        let root = machine.root();
        let _ = fs::remove_dir_all(&root);
        for part in ["bin", "modules"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
        for module in modules {
            let name = format!("{}.ko", module.rsplit('/').next().unwrap());
            let plain = all.join("kernel").join(format!("{module}.ko"));
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
        machine
    }

    /// Where a test keeps what it makes.
    #[allow(
        dead_code,
        reason = "not every test that has a machine keeps something"
    )]
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The machine's own root directory, until it boots.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// Puts a program into the machine, with the libraries that it needs.
    pub(crate) fn install(&self, program: &Path, name: &str) {
        let root = self.root();
        run_command(
            Command::new("objcopy")
                .arg("--strip-debug")
                .arg(program)
                .arg(root.join(name.trim_start_matches('/'))),
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

    /// The command that boots it: after what all begin with, `init` runs in the same shell. The
    /// machine's console is the command's output. A
    /// machine that hangs is ended after `longest_s` seconds. The command leads a process
    /// group, of which the machine is.
    pub(crate) fn boot(&self, init: &str, parameters: &str, longest_s: &str) -> Command {
        let root = self.root();
        fs::write(root.join("init"), format!("{BEGIN}{init}")).unwrap();
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755)).unwrap();
        let archive = self.directory.join("initramfs");
        let pack = format!(
            "cd {} && find . | cpio --quiet -o -H newc > {}",
            root.display(),
            archive.display()
        );
        run_command(Command::new("sh").args(["-c", &pack]), "the archive");
        let mut command = Command::new("timeout");
        command
            .args([
                "--signal=KILL",
                longest_s,
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
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(archive)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 {parameters}"))
            .stdin(Stdio::null());
        command
    }
}

pub(crate) fn run_command(command: &mut Command, what: &str) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{what}: {command:?}: {error}"));
    assert!(status.success(), "{what}: {command:?}: {status}");
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The unpacked kernel package: its image and its modules.
fn kernel() -> (PathBuf, PathBuf) {
    let directory = scratch("machine");
    let unpacked = directory.join("kernel");
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
                .current_dir(&directory),
            "the kernel's package",
        );
        let deb = fs::read_dir(&directory)
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
