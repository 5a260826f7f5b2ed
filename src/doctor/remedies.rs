//! What the doctor advises: all of it, and nothing that was not tried.
//!
//! Each is a command for a shell, with a comment behind it where more is to be said; a
//! sentence where no command does it. Words in capitals are filled in. The tests run each of
//! them where its complaint is, see the complaint go, and hold this list against what they ran.

use std::borrow::Cow;
use std::fmt;

use v2m_dsp::health::Finding;

use crate::capture::pipewire::Inaudible;

/// What ends a complaint. Only this file makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy(Cow<'static, str>);

const fn fixed(text: &'static str) -> Remedy {
    Remedy(Cow::Borrowed(text))
}

impl Remedy {
    /// What each finding's own says; its kind is tried where it is made.
    pub(super) fn of_findings<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let all: Vec<&str> = findings
            .into_iter()
            .map(|finding| finding.remedy.as_str())
            .collect();
        Self(all.join("; ").into())
    }

    pub(super) fn of_inaudible(source: &Inaudible) -> Self {
        Self(source.remedy().into())
    }

    /// At least so many KiB.
    pub(super) fn allow_locked_memory(kib: u64) -> Self {
        Self(
            ALLOW_LOCKED_MEMORY
                .0
                .replace("KIB", &kib.to_string())
                .into(),
        )
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// PipeWire and its session manager.
pub(super) const SET_RUNTIME_DIRECTORY: Remedy = fixed("export XDG_RUNTIME_DIR=/run/user/$(id -u)");
pub(super) const LET_SOCKET_IN: Remedy = fixed(
    "from outside: mount PipeWire's socket, $XDG_RUNTIME_DIR/pipewire-0, at the same path and set \
    XDG_RUNTIME_DIR (Flatpak: --filesystem=xdg-run/pipewire-0)",
);
pub(super) const LOOK_OUTSIDE: Remedy =
    fixed("v2m-engine doctor, run outside of the sandbox, says what to do");
pub(super) const INSTALL_PIPEWIRE: Remedy = fixed(
    "sudo apt install pipewire wireplumber && systemctl --user start pipewire.socket wireplumber.service   \
    # or: sudo dnf install pipewire wireplumber",
);
pub(super) const START_PIPEWIRE: Remedy =
    fixed("systemctl --user start pipewire.socket wireplumber.service");
pub(super) const START_PIPEWIRE_BY_HAND: Remedy =
    fixed("(pipewire & sleep 1; dbus-run-session wireplumber &)   # no systemd starts them here");
pub(super) const INSTALL_SESSION_MANAGER: Remedy = fixed(
    "sudo apt install wireplumber && systemctl --user start wireplumber.service   \
    # or: sudo dnf install wireplumber",
);
pub(super) const START_SESSION_MANAGER: Remedy =
    fixed("systemctl --user enable --now wireplumber.service");
pub(super) const START_SESSION_MANAGER_BY_HAND: Remedy =
    fixed("(dbus-run-session wireplumber &)   # no systemd starts it here");
pub(super) const BACKPORT_PIPEWIRE: Remedy = fixed(
    "echo 'deb http://deb.debian.org/debian bookworm-backports main' | \
    sudo tee /etc/apt/sources.list.d/backports.list && sudo apt update && \
    sudo apt install -t bookworm-backports pipewire wireplumber   # then log in again",
);
pub(super) const NEWER_PIPEWIRE: Remedy =
    fixed("no command does it: take a release of the distribution that has PipeWire 1.0 or newer");
pub(super) const FREE_QUANTUM: Remedy = fixed(
    "pw-metadata -n settings 0 clock.force-quantum 0; pw-metadata -n settings 0 clock.min-quantum 32",
);

// What to look at where only a person knows what is wanted.
pub(super) const LIST_SOURCES: Remedy =
    fixed("v2m-engine sources   # lists what can be captured; plug in a microphone if nothing");
pub(super) const CHOOSE_SINK: Remedy =
    fixed("wpctl status   # lists sinks; wpctl set-default ID makes one the default");
pub(super) const WATCH_GRAPH: Remedy = fixed("pw-top   # shows who is late");
pub(super) const WATCH_LOSSES: Remedy =
    fixed("v2m-engine monitor   # shows when; pw-top shows who is late");
pub(super) const WATCH_HEALTH: Remedy =
    fixed("v2m-engine monitor   # says more of each, and what to do; the arrow keys choose");

// Devices, limits and permissions.
pub(super) const LOG_IN_AT_THE_MACHINE: Remedy =
    fixed("loginctl   # log in at the machine itself: a session with a seat gets its devices");
pub(super) const JOIN_GROUP_AUDIO: Remedy =
    fixed("sudo usermod -aG audio \"$USER\"   # then log in again");
pub(super) const ALLOW_REAL_TIME: Remedy = fixed(
    "echo \"$USER - rtprio 80\" | sudo tee -a /etc/security/limits.d/60-v2m-engine.conf   \
    # then log in again",
);
pub(super) const INSTALL_RTKIT: Remedy =
    fixed("sudo apt install rtkit   # or: sudo dnf install rtkit");
const ALLOW_LOCKED_MEMORY: Remedy = fixed(
    "echo \"$USER - memlock KIB\" | sudo tee -a /etc/security/limits.d/60-v2m-engine.conf   \
    # then log in again",
);
pub(super) const INSTALL_UDEV_RULES: Remedy = fixed(
    "echo 'KERNEL==\"cpu_dma_latency\", GROUP=\"audio\", MODE=\"0660\", TAG+=\"uaccess\"' | \
    sudo tee /etc/udev/rules.d/60-v2m-engine.rules && sudo udevadm control --reload && sudo udevadm trigger /dev/cpu_dma_latency",
);

// The kernel.
pub(super) const INSTALL_REAL_TIME_KERNEL: Remedy = fixed(
    "sudo apt install linux-image-rt-$(dpkg --print-architecture)   \
    # or another kernel with PREEMPT_DYNAMIC; then restart",
);
pub(super) const PREEMPT_FULLY: Remedy = fixed(
    "sudo sed -i 's/ *preempt=[a-z]*//g; s/^GRUB_CMDLINE_LINUX=\"/&preempt=full /' /etc/default/grub && \
    sudo update-grub   # or: sudo grubby --update-kernel=ALL --args=preempt=full; then restart",
);
pub(super) const BACKPORT_KERNEL: Remedy = fixed(
    "echo 'deb http://deb.debian.org/debian bookworm-backports main' | \
    sudo tee /etc/apt/sources.list.d/backports.list && sudo apt update && \
    sudo apt install -t bookworm-backports linux-image-$(dpkg --print-architecture)   # then restart",
);
pub(super) const NEWER_KERNEL: Remedy =
    fixed("no command does it: take a release of the distribution that has Linux 6.7 or newer");
pub(super) const ALLOW_IO_URING: Remedy = fixed("sudo sysctl kernel.io_uring_disabled=0");

// The engine itself.
pub(super) const NATIVE_DETECTOR: Remedy = fixed(
    "in config.toml, under [vad]: backend = \"native\"   \
    # or onnxruntime = \"…\", the path of libonnxruntime.so",
);
pub(super) const START_SERVICE: Remedy =
    fixed("systemd-run --user --unit v2m-engine v2m-engine run   # until the session ends");
pub(super) const START_SERVICE_BY_HAND: Remedy =
    fixed("(v2m-engine run &)   # no systemd starts it here");
pub(super) const RESTART_SERVICE: Remedy = fixed("systemctl --user restart v2m-engine.service");
pub(super) const KILL_SERVICE: Remedy =
    fixed("pkill -KILL -u \"$(id -u)\" -x v2m-engine   # then start it again: v2m-engine run");
