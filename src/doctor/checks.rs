//! What facts mean.

mod echo;
mod streams;

use super::remedies::{self, Remedy};
use super::{Check, Facts, Heard};
use v2m_dsp::health::{Finding, Kind};
use v2m_pw_filter::Version;

/// One check for each thing that may be wrong, in the order of importance.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        pipewire(facts),
        manager(facts),
        visibility(facts),
        source(facts),
    ];
    checks.extend(bluetooth(facts));
    checks.extend(streams::streams(facts));
    checks.extend([
        echo::echo(facts),
        echo::microphone(facts),
        graph(facts),
        devices(facts),
        groups(facts),
        limits(facts),
        rtkit(facts),
        memory(facts),
        preemption(facts),
        wakeups(facts),
        sleep(facts),
        vad(facts),
        onnx(facts),
        udev(facts),
        unit(facts),
    ]);
    if let Some(sandbox) = &facts.sandbox {
        let of_machine = |check: &&mut Check| MACHINES.contains(&check.name.as_str());
        for check in checks.iter_mut().filter(of_machine) {
            let outside = |_| remedies::LOOK_OUTSIDE.to_string();
            check.remedy = check.remedy.take().map(outside);
        }
        let meaning = format!("{sandbox}: what the machine lacks is mended outside of it");
        checks.push(Check::good("sandbox", meaning));
    }
    checks
}

/// The checks whose complaints can't be mended in a sandbox.
const MACHINES: [&str; 10] = [
    "session manager",
    "sound cards",
    "groups",
    "RT limits",
    "RTKit",
    "memory",
    "preemption",
    "wake-ups",
    "CPU sleep",
    "udev rules",
];

fn pipewire(facts: &Facts) -> Check {
    let remedy = match (facts.runtime_directory, facts.has_pipewire, facts.systemd) {
        _ if facts.library < Version::OLDEST => remedies::NEWER_PIPEWIRE,
        _ if facts.sandbox.is_some() => remedies::LET_SOCKET_IN,
        (false, ..) => remedies::SET_RUNTIME_DIRECTORY,
        (_, false, _) => remedies::INSTALL_PIPEWIRE,
        (.., true) => remedies::START_PIPEWIRE,
        (.., false) => remedies::START_PIPEWIRE_BY_HAND,
    };
    match &facts.pipewire {
        Ok(survey) => Check::good("PipeWire", format!("{} answers", survey.version)),
        Err(reason) if is_by_pulseaudio(facts) => Check::good(
            "PipeWire",
            format!(
                "{}, and isn't needed: PulseAudio has the sound, which is captured through it",
                short(reason)
            ),
        ),
        Err(reason) if !facts.alsa => Check::broken(
            "PipeWire",
            format!(
                "{}, and this build has no ALSA to use instead",
                short(reason)
            ),
            remedy,
        ),
        Err(reason) if facts.cards.1 > 0 || heard(facts).is_some() => Check::degraded(
            "PipeWire",
            format!(
                "{}: ALSA is used, which no other program can share",
                short(reason)
            ),
            remedy,
        ),
        Err(reason) => Check::broken(
            "PipeWire",
            format!(
                "{}, and there is no sound card to use instead",
                short(reason)
            ),
            remedy,
        ),
    }
}

/// Whether what was heard came by ALSA's plugin for PulseAudio.
fn is_by_pulseaudio(facts: &Facts) -> bool {
    heard(facts).is_some_and(|heard| heard.source == "alsa:pulse")
}

/// Without the advice: that is what the remedies are for.
fn short(reason: &str) -> &str {
    reason.split(';').next().unwrap_or(reason)
}

fn manager(facts: &Facts) -> Check {
    let name = "session manager";
    match &facts.pipewire {
        Err(_) => Check::good(name, "none is needed without PipeWire"),
        Ok(survey) => match &survey.session_manager {
            Some(manager) => Check::good(name, manager),
            None => Check::degraded(
                name,
                "none: sound cards don't appear in PipeWire, and no default source is chosen",
                match (facts.has_session_manager, facts.systemd) {
                    (false, _) => remedies::INSTALL_SESSION_MANAGER,
                    (_, true) => remedies::START_SESSION_MANAGER,
                    (_, false) => remedies::START_SESSION_MANAGER_BY_HAND,
                },
            ),
        },
    }
}

/// Whether the desktop shows that somebody listens.
fn visibility(facts: &Facts) -> Check {
    let name = "visibility";
    if facts.pipewire.is_err() && is_by_pulseaudio(facts) {
        let why = "a recording stream of PulseAudio, ALSA plug-in [v2m-engine]";
        return Check::good(name, why);
    }
    let Ok(survey) = &facts.pipewire else {
        let why = "no desktop sees who records by ALSA: v2m-engine status names them";
        return Check::good(name, why);
    };
    let oldest = facts.library.min(survey.version.as_str().into());
    if oldest >= Version(1, 0, 0) {
        return Check::good(
            name,
            "a recording stream to the desktop, which can show, mute and move it",
        );
    }
    Check::degraded(
        name,
        format!(
            "PipeWire {oldest} shows no filter as a recording stream: the desktop has no \
             microphone light and no volume for it; v2m-engine status names who listens"
        ),
        match facts.is_bookworm() {
            true => remedies::BACKPORT_PIPEWIRE,
            false => remedies::NEWER_PIPEWIRE,
        },
    )
}

fn heard(facts: &Facts) -> Option<&Heard> {
    facts.heard.as_ref()?.as_ref().ok()
}

/// Muted, ill in another way, or well.
fn source(facts: &Facts) -> Check {
    let name = "source";
    let found = facts.pipewire.as_ref().ok().map(|survey| &survey.source);
    if let Some(Ok(found)) = found
        && let Some(source) = &found.inaudible
    {
        return Check::broken(name, source.text(), Remedy::of_inaudible(source));
    }
    let mut findings = heard(facts).into_iter().flat_map(|heard| &heard.findings);
    if let Some(finding) = findings.find(|finding| finding.kind == Kind::Muted) {
        return Check::broken(name, &finding.text, Remedy::of_findings([finding]));
    }
    match &facts.heard {
        None => Check::good(name, "a file"),
        Some(Ok(heard)) if !heard.findings.is_empty() => {
            let found: Vec<&str> = heard
                .findings
                .iter()
                .map(|finding: &Finding| finding.text.as_str())
                .collect();
            let found = found.join("; ");
            Check::degraded(
                name,
                format!("{}, heard for {}: {found}", heard.source, seconds(heard)),
                Remedy::of_findings(&heard.findings),
            )
        }
        Some(Ok(heard)) if !heard.enough => Check::degraded(
            name,
            format!(
                "{}, of which only {} could be heard: too little to judge it by",
                heard.source,
                seconds(heard)
            ),
            remedies::WATCH_LOSSES,
        ),
        Some(Ok(heard)) => Check::good(
            name,
            format!(
                "{}, {:.0} dB below full scale at its loudest in {}",
                heard.source,
                -20.0 * heard.peak.log10(),
                seconds(heard)
            ),
        ),
        Some(Err(reason)) => Check::broken(
            name,
            format!("nothing can be heard: {reason}"),
            remedies::LIST_SOURCES,
        ),
    }
}

/// What capturing does to a headset, which the session manager decides.
fn bluetooth(facts: &Facts) -> Option<Check> {
    let survey = facts.pipewire.as_ref().ok()?;
    let name = &survey.source.as_ref().ok()?.name;
    let meaning = match survey.session_manager {
        Some(_) => {
            "has its microphone profile while it is captured, in which it plays with the sound of \
             a telephone; any other source leaves it as it is"
        }
        None => "no session manager gives it its microphone profile: it is captured in that only",
    };
    let is_headset = name.starts_with("bluez_input");
    is_headset.then(|| Check::good("Bluetooth", format!("{name} {meaning}")))
}

fn seconds(heard: &Heard) -> String {
    format!("{:.1} s", heard.length.as_secs_f64())
}

/// Whether the graph runs as fast as it was asked to.
fn graph(facts: &Facts) -> Check {
    let name = "quantum";
    let Some(heard) = heard(facts).filter(|heard| heard.rate > 0) else {
        return Check::good(name, "not known: nothing runs");
    };
    let (quantum, rate, asked) = (heard.quantum, heard.rate, facts.latency);
    let runs_ms = f64::from(quantum) * 1000.0 / f64::from(rate);
    let asked_ms = asked.ns() as f64 / 1e6;
    if runs_ms <= asked_ms * 1.5 {
        Check::good(name, format!("{quantum}/{rate}, {runs_ms:.1} ms"))
    } else {
        Check::degraded(
            name,
            format!(
                "{quantum}/{rate} where {asked} was asked for: audio comes up to {:.1} ms later",
                runs_ms - asked_ms
            ),
            remedies::FREE_QUANTUM,
        )
    }
}

fn devices(facts: &Facts) -> Check {
    if !facts.alsa {
        let why = "left to PipeWire: this build has no ALSA";
        return Check::good("sound cards", why);
    }
    match facts.cards {
        (0, _) => Check::good(
            "sound cards",
            "none that captures: only PipeWire's own sources can be used",
        ),
        (all, usable) if all == usable => Check::good(
            "sound cards",
            format!("{all} capture devices, all of them can be opened"),
        ),
        (all, usable) if facts.logind => {
            let found = format!("{usable} of {all} capture devices can be opened");
            let who = "devices are for who sits at the machine";
            match facts.pipewire {
                Ok(_) => Check::good("sound cards", format!("{found}: {who}; PipeWire has them")),
                Err(_) => Check::degraded(
                    "sound cards",
                    format!("{found}: {who}"),
                    remedies::LOG_IN_AT_THE_MACHINE,
                ),
            }
        }
        (all, usable) => Check::degraded(
            "sound cards",
            format!("{usable} of {all} capture devices can be opened: no way around PipeWire"),
            remedies::JOIN_GROUP_AUDIO,
        ),
    }
}

fn groups(facts: &Facts) -> Check {
    let name = "groups";
    let ours = ["audio", "pipewire", "realtime"];
    let in_group = |group: &&str| facts.groups.iter().any(|own| own == group);
    let found: Vec<&str> = ours.into_iter().filter(in_group).collect();
    if facts.root {
        Check::good(name, "root needs none")
    } else if facts.logind {
        Check::good(
            name,
            "none is needed: the login manager gives devices to who sits at the machine",
        )
    } else if found.is_empty() {
        Check::degraded(
            name,
            "in none of audio, pipewire, realtime: devices only for who sits at the machine, limits of no group",
            remedies::JOIN_GROUP_AUDIO,
        )
    } else {
        Check::good(name, found.join(", "))
    }
}

fn limits(facts: &Facts) -> Check {
    let name = "RT limits";
    match (facts.rtprio, &facts.rtkit) {
        (1.., _) => Check::good(name, format!("SCHED_FIFO up to {}", facts.rtprio)),
        (0, Ok(_)) => Check::good(name, "RLIMIT_RTPRIO is 0; RTKit makes up for it"),
        (0, Err(_)) => Check::degraded(
            name,
            "RLIMIT_RTPRIO is 0: a busy machine delays audio",
            remedies::ALLOW_REAL_TIME,
        ),
    }
}

fn rtkit(facts: &Facts) -> Check {
    let name = "RTKit";
    match (&facts.rtkit, facts.rtprio) {
        (Ok(highest), _) => Check::good(name, format!("gives up to {highest}")),
        (Err(_), 1..) => Check::good(name, "not there, and not needed: the limits allow enough"),
        (Err(reason), 0) => Check::degraded(
            name,
            format!("gives nothing ({reason}): a busy machine delays audio"),
            match facts.system_bus {
                true => remedies::INSTALL_RTKIT,
                false => remedies::ALLOW_REAL_TIME,
            },
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
            Remedy::allow_locked_memory(needed.max(65_536)),
        )
    }
}

fn preemption(facts: &Facts) -> Check {
    let name = "preemption";
    let build = &facts.kernel_build;
    if build.contains("PREEMPT_RT") {
        return Check::good(name, "a real-time kernel");
    }
    if !build.contains("PREEMPT") {
        return Check::degraded(
            name,
            "the kernel is not preemptible: system calls of other programs delay audio by milliseconds at times",
            remedies::INSTALL_REAL_TIME_KERNEL,
        );
    }
    match facts.preempt.as_deref() {
        Some(mode @ ("none" | "voluntary")) if build.contains("PREEMPT_DYNAMIC") => {
            Check::degraded(
                name,
                format!(
                    "the kernel could be preempted, and is not (preempt={mode}): \
                     system calls of other programs delay audio by milliseconds at times"
                ),
                remedies::PREEMPT_FULLY,
            )
        }
        Some(mode) => Check::good(name, format!("the kernel can be preempted ({mode})")),
        None => Check::good(name, "the kernel can be preempted"),
    }
}

fn wakeups(facts: &Facts) -> Check {
    let (major, minor) = facts.kernel;
    let slower = "asyncio clients wait by a helper thread, a few microseconds slower";
    if facts.kernel < (6, 7) {
        Check::degraded(
            "wake-ups",
            format!("Linux {major}.{minor} has no futex by io_uring: {slower}"),
            match facts.is_bookworm() {
                true => remedies::BACKPORT_KERNEL,
                false => remedies::NEWER_KERNEL,
            },
        )
    } else if facts.io_uring_disabled.unwrap_or(0) != 0 {
        Check::degraded(
            "wake-ups",
            format!("io_uring is switched off: {slower}"),
            remedies::ALLOW_IO_URING,
        )
    } else {
        Check::good("wake-ups", "futex, by io_uring too")
    }
}

fn sleep(facts: &Facts) -> Check {
    if facts.dma_latency {
        Check::good(
            "CPU sleep",
            "deep sleep can be kept off while capturing (/dev/cpu_dma_latency)",
        )
    } else {
        Check::degraded(
            "CPU sleep",
            "/dev/cpu_dma_latency can't be written: waking from deep sleep may take 0.1 ms or more",
            match (&facts.udev_rules, facts.logind) {
                (None, _) => remedies::INSTALL_UDEV_RULES,
                (Some(_), true) => remedies::LOG_IN_AT_THE_MACHINE,
                (Some(_), false) => remedies::JOIN_GROUP_AUDIO,
            },
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
            remedies::NATIVE_DETECTOR,
        ),
    }
}

fn onnx(facts: &Facts) -> Check {
    let name = "ONNX Runtime";
    match &facts.onnx {
        Ok(found) => Check::good(name, found),
        Err(why) => Check::good(name, format!("not used, Silero needs none: {}", short(why))),
    }
}

fn udev(facts: &Facts) -> Check {
    match &facts.udev_rules {
        Some(path) => Check::good("udev rules", path.display().to_string()),
        None => Check::degraded(
            "udev rules",
            "not installed: /dev/cpu_dma_latency stays root's",
            remedies::INSTALL_UDEV_RULES,
        ),
    }
}

fn unit(facts: &Facts) -> Check {
    let name = "user unit";
    match (&facts.unit, &facts.service) {
        (Some(path), _) => Check::good(name, path.display().to_string()),
        (None, Some(Ok(_))) => Check::good(name, "not installed, and a service runs without"),
        (None, _) => Check::degraded(
            name,
            "not installed: each client starts an engine of its own",
            match facts.systemd {
                true => remedies::START_SERVICE,
                false => remedies::START_SERVICE_BY_HAND,
            },
        ),
    }
}

#[cfg(test)]
mod tests;
