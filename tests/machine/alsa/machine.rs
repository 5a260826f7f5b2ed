//! The machine with its sound cards, the engine, and this program.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::emulated::{Machine, run_command};

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

const INIT: &str = r#"
for module in soundcore snd snd-timer snd-pcm; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox insmod /modules/snd-aloop.ko index=0
/bin/busybox insmod /modules/snd-dummy.ko index=1
/bin/busybox insmod /modules/snd-pcsp.ko index=2
export V2M_TEST_VM_PART="guest $(/bin/busybox sed -n 's/.*only=\([^ ]*\).*/\1/p' /proc/cmdline)"
/test --exact alsa::part --nocapture 2>&1
/bin/busybox poweroff -f
"#;

/// Boots and runs one scenario or `all`; what the machine wrote.
pub(crate) fn run(only: &str) -> String {
    let modules = MODULES.map(|module| format!("sound/{module}"));
    let machine = Machine::new("alsa-vm", &modules);
    let root = machine.root();
    machine.install(&std::env::current_exe().unwrap(), "/test");
    machine.install(Path::new(env!("CARGO_BIN_EXE_v2m-engine")), ENGINE);
    machine.install(Path::new("/usr/bin/amixer"), "/bin/amixer");
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
    let output = machine
        .boot(INIT, &format!("only={only}"), LONGEST_S)
        .output()
        .expect("install qemu-system-x86");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
