//! What facts mean.

use super::{Check, Facts};
use crate::ErrorKind;

/// One check for each thing that may be wrong, in the order of importance.
pub fn judge(facts: &Facts) -> Vec<Check> {
    vec![
        source(facts),
        devices(facts),
        realtime(facts),
        memory(facts),
        preemption(facts),
        wakeups(facts),
        latency(facts),
        vad(facts),
        udev(facts),
        unit(facts),
    ]
}

fn source(facts: &Facts) -> Check {
    let (path, reached) = &facts.pipewire;
    let path = path.display();
    match reached {
        Ok(()) => Check::good("PipeWire", format!("reached at {path}")),
        Err(reason) if facts.cards.1 > 0 => Check::degraded(
            "PipeWire",
            format!(
                "not reached at {path} ({reason}): ALSA is used, which no other program can share"
            ),
            "systemctl --user start pipewire.socket wireplumber.service",
        ),
        Err(reason) => Check::broken(
            "PipeWire",
            format!("not reached at {path} ({reason}), and there is no sound card to use instead"),
            "systemctl --user start pipewire.socket wireplumber.service",
        ),
    }
}

fn devices(facts: &Facts) -> Check {
    let (all, usable) = facts.cards;
    match (all, usable) {
        (0, _) => Check::good(
            "sound cards",
            "none that captures: only PipeWire's own sources can be used",
        ),
        (all, usable) if all == usable => Check::good(
            "sound cards",
            format!("{all} capture devices, all of them can be opened"),
        ),
        // Systemd gives the devices to who sits at the machine; the group is for the others.
        (all, usable) if facts.groups.iter().any(|group| group == "audio") => Check::degraded(
            "sound cards",
            format!(
                "{usable} of {all} capture devices can be opened, though you are in the group audio"
            ),
            "ls -l /dev/snd",
        ),
        (all, usable) => Check::degraded(
            "sound cards",
            format!("{usable} of {all} capture devices can be opened: no way around PipeWire"),
            "sudo usermod -aG audio \"$USER\"   # then log in again",
        ),
    }
}

fn realtime(facts: &Facts) -> Check {
    match (&facts.rtkit, facts.rtprio) {
        (_, 1..) => Check::good(
            "real time",
            format!("SCHED_FIFO up to {} by the limits", facts.rtprio),
        ),
        (Ok(highest), 0) => Check::good("real time", format!("up to {highest} by RTKit")),
        (Err(reason), 0) => Check::degraded(
            "real time",
            format!(
                "RLIMIT_RTPRIO is 0 and RTKit gives none ({reason}): a busy machine delays audio"
            ),
            "sudo apt install rtkit   # or, in /etc/security/limits.d/audio.conf: @audio - rtprio 80",
        ),
    }
}

fn memory(facts: &Facts) -> Check {
    let kib = facts.memlock / 1024;
    let needed = facts.ring_bytes / 1024 + 1024;
    if facts.memlock == u64::MAX {
        Check::good("memory", "may be locked without limit")
    } else if kib >= needed {
        Check::good(
            "memory",
            format!("{kib} KiB may be locked, {needed} KiB are wanted"),
        )
    } else {
        Check::degraded(
            "memory",
            format!(
                "only {kib} of {needed} KiB may be locked: when memory is short, paging delays audio"
            ),
            "systemctl --user edit v2m-engine   # LimitMEMLOCK=64M under [Service]; needs DefaultLimitMEMLOCK in user@.service",
        )
    }
}

fn preemption(facts: &Facts) -> Check {
    let build = &facts.kernel_build;
    if build.contains("PREEMPT_RT") {
        Check::good("preemption", "a real-time kernel")
    } else if build.contains("PREEMPT") {
        Check::good("preemption", "the kernel can be preempted")
    } else {
        Check::degraded(
            "preemption",
            "the kernel is not preemptible: system calls of other programs delay audio by milliseconds at times",
            "uname -v   # take a kernel with PREEMPT_DYNAMIC or PREEMPT_RT; with the former, boot with preempt=full",
        )
    }
}

fn wakeups(facts: &Facts) -> Check {
    let (major, minor) = facts.kernel;
    let slower = "asyncio clients wait by a helper thread, a few microseconds slower";
    if facts.kernel < (6, 7) {
        Check::degraded(
            "wake-ups",
            format!("Linux {major}.{minor} has no futex by io_uring: {slower}"),
            "uname -r   # 6.7 or newer has it",
        )
    } else if facts.io_uring_disabled.unwrap_or(0) != 0 {
        Check::degraded(
            "wake-ups",
            format!("io_uring is switched off: {slower}"),
            "sudo sysctl kernel.io_uring_disabled=0",
        )
    } else {
        Check::good("wake-ups", "futex, by io_uring too")
    }
}

fn latency(facts: &Facts) -> Check {
    if facts.dma_latency {
        Check::good(
            "CPU sleep",
            "deep sleep can be kept off while capturing (/dev/cpu_dma_latency)",
        )
    } else {
        Check::degraded(
            "CPU sleep",
            "/dev/cpu_dma_latency can't be written: waking from deep sleep may take 0.1 ms or more",
            "sudo usermod -aG audio \"$USER\"   # with the udev rules installed; then log in again",
        )
    }
}

fn vad(facts: &Facts) -> Check {
    match &facts.vad {
        Ok(Some(model)) => Check::good("speech", model.clone()),
        Ok(None) => Check::good("speech", "not looked for, as configured"),
        Err(error) => Check::degraded(
            "speech",
            format!("not found by the engine, which captures all the same: {error}"),
            match error.kind() {
                ErrorKind::Unavailable => {
                    "pip install onnxruntime   # or, in config.toml under [vad]: backend = \"native\""
                }
                _ => "v2m-engine run --vad-backend native   # or correct [vad] in config.toml",
            },
        ),
    }
}

fn udev(facts: &Facts) -> Check {
    match &facts.udev_rules {
        Some(path) => Check::good("udev rules", path.display().to_string()),
        None => Check::degraded(
            "udev rules",
            "not installed: /dev/cpu_dma_latency stays root's",
            "echo 'KERNEL==\"cpu_dma_latency\", GROUP=\"audio\", MODE=\"0660\"' | \
             sudo tee /etc/udev/rules.d/60-v2m-engine.rules && sudo udevadm trigger /dev/cpu_dma_latency",
        ),
    }
}

fn unit(facts: &Facts) -> Check {
    match &facts.unit {
        Some(path) => Check::good("user unit", path.display().to_string()),
        None => Check::degraded(
            "user unit",
            "not installed: each client starts an engine of its own",
            "systemd-run --user --unit v2m-engine v2m-engine run",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Status, worst};
    use super::*;
    use crate::Error;

    fn fine() -> Facts {
        Facts {
            pipewire: (PathBuf::from("/run/user/1000/pipewire-0"), Ok(())),
            rtprio: 0,
            rtkit: Ok(20),
            memlock: 8 << 20,
            ring_bytes: 4 << 20,
            kernel: (6, 12),
            kernel_build: "#1 SMP PREEMPT_DYNAMIC Debian".into(),
            io_uring_disabled: Some(0),
            dma_latency: true,
            cards: (2, 2),
            groups: vec!["audio".into()],
            udev_rules: Some("/usr/lib/udev/rules.d/70-v2m-engine.rules".into()),
            unit: Some("/usr/lib/systemd/user/v2m-engine.service".into()),
            vad: Ok(Some("silero-vad 16 kHz, native".into())),
        }
    }

    #[test]
    fn a_fine_machine_is_good() {
        let checks = judge(&fine());
        assert_eq!(worst(&checks), Status::Good, "{checks:#?}");
    }

    #[test]
    fn each_fault_shows_in_its_own_check_with_a_remedy() {
        let gone = || (PathBuf::from("pipewire-0"), Err("No such file".to_owned()));
        let cases: Vec<(&str, Status, Facts)> = vec![
            (
                "PipeWire",
                Status::Degraded,
                Facts {
                    pipewire: gone(),
                    ..fine()
                },
            ),
            (
                "PipeWire",
                Status::Broken,
                Facts {
                    pipewire: gone(),
                    cards: (0, 0),
                    ..fine()
                },
            ),
            (
                "sound cards",
                Status::Degraded,
                Facts {
                    cards: (2, 0),
                    groups: vec![],
                    ..fine()
                },
            ),
            (
                "real time",
                Status::Degraded,
                Facts {
                    rtkit: Err("no bus".into()),
                    ..fine()
                },
            ),
            (
                "memory",
                Status::Degraded,
                Facts {
                    memlock: 1 << 20,
                    ..fine()
                },
            ),
            (
                "preemption",
                Status::Degraded,
                Facts {
                    kernel_build: "#1 SMP Debian".into(),
                    ..fine()
                },
            ),
            (
                "wake-ups",
                Status::Degraded,
                Facts {
                    kernel: (6, 1),
                    ..fine()
                },
            ),
            (
                "wake-ups",
                Status::Degraded,
                Facts {
                    io_uring_disabled: Some(2),
                    ..fine()
                },
            ),
            (
                "CPU sleep",
                Status::Degraded,
                Facts {
                    dma_latency: false,
                    ..fine()
                },
            ),
            (
                "speech",
                Status::Degraded,
                Facts {
                    vad: Err(Error::new(ErrorKind::Unavailable, "no ONNX Runtime")),
                    ..fine()
                },
            ),
            (
                "udev rules",
                Status::Degraded,
                Facts {
                    udev_rules: None,
                    ..fine()
                },
            ),
            (
                "user unit",
                Status::Degraded,
                Facts {
                    unit: None,
                    ..fine()
                },
            ),
        ];
        for (name, status, facts) in cases {
            let checks = judge(&facts);
            let wrong: Vec<&Check> = checks
                .iter()
                .filter(|check| check.status != Status::Good)
                .collect();
            assert_eq!(wrong.len(), 1, "{name}: {wrong:#?}");
            assert_eq!((wrong[0].name.as_str(), wrong[0].status), (name, status));
            assert!(wrong[0].remedy.is_some());
        }
    }
}
