//! What this process asked the system for and what it got, thread by thread
//! and page by page, for `status`. [`super::promote`] and the locks note it here.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Grant, Means, Policy, Promotion, Role, Scheduling, inspect};
use v2m_client::status::{GrantStatus, ThreadStatus};

static NOTED: Mutex<Noted> = Mutex::new(Noted {
    threads: Vec::new(),
    grants: Vec::new(),
});

struct Noted {
    threads: Vec<(String, Promotion)>,
    grants: Vec<Grant>,
}

fn noted() -> MutexGuard<'static, Noted> {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread's name, if this process has it.
pub(super) fn name(tid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/self/task/{tid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Notes a promotion; an older one of the same thread goes.
pub(super) fn promoted(promotion: &Promotion) {
    let Some(name) = name(promotion.tid) else {
        return;
    };
    let mut noted = noted();
    noted.threads.retain(|(_, old)| old.tid != promotion.tid);
    noted.threads.push((name, promotion.clone()));
}

/// Notes what was asked of memory or of the CPU; an older answer goes.
pub(super) fn granted(grant: &Grant) {
    let mut noted = noted();
    noted.grants.retain(|old| old.asked != grant.asked);
    noted.grants.push(grant.clone());
}

/// What was asked so is given back.
pub(super) fn returned(asked: &str) {
    noted().grants.retain(|grant| grant.asked != asked);
}

/// Notes a thread that a library made and scheduled (PipeWire's data thread):
/// what it has is looked at, not changed.
pub fn observe(role: Role, tid: i32, asked: i32) {
    let got = inspect(tid);
    let real = got.as_ref().is_some_and(Scheduling::is_real_time);
    let refused = "libpipewire asked for it by the limits and by RTKit, and got none";
    promoted(&Promotion {
        role,
        tid,
        asked,
        got,
        by: Means::Library,
        why_not: if real { vec![] } else { vec![refused.into()] },
    });
}

/// Every thread that real time was asked for and that still lives, as it is now.
pub fn threads() -> Vec<ThreadStatus> {
    let mut noted = noted();
    noted
        .threads
        .retain(|(known, promotion)| name(promotion.tid).as_ref() == Some(known));
    let status = |(name, promotion): &(String, Promotion)| {
        let now = inspect(promotion.tid)?;
        let mut why_not = promotion.why_not.clone();
        if was_real_time(promotion) && !now.is_real_time() {
            why_not.push("it ran longer than RLIMIT_RTTIME allows, and lost real time".into());
        }
        Some(ThreadStatus {
            name: name.clone(),
            tid: promotion.tid,
            role: promotion.role.to_string(),
            asked: format!("fifo {}", promotion.asked),
            got: now.to_string(),
            real_time: now.is_real_time(),
            by: promotion.by.to_string(),
            why_not,
        })
    };
    noted.threads.iter().filter_map(status).collect()
}

fn was_real_time(promotion: &Promotion) -> bool {
    promotion.got.as_ref().is_some_and(Scheduling::is_real_time)
}

/// All that was asked of memory and the CPU.
pub fn grants() -> Vec<GrantStatus> {
    let status = |grant: &Grant| GrantStatus {
        asked: grant.asked.clone(),
        granted: grant.granted,
        why_not: grant.why_not.clone(),
    };
    noted().grants.iter().map(status).collect()
}

impl Scheduling {
    /// Goes before every ordinary thread.
    pub fn is_real_time(&self) -> bool {
        matches!(
            self.policy,
            Policy::Fifo | Policy::RoundRobin | Policy::Deadline
        )
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl std::fmt::Display for Means {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Limits => "limits",
            Self::RtKit => "RTKit",
            Self::Nice => "nice",
            Self::Library => "PipeWire",
            Self::Nothing => "nobody",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::super::{promote, thread_id};
    use super::*;

    #[test]
    fn a_thread_is_listed_for_as_long_as_it_lives() {
        let (send, receive) = channel();
        let (done, wait) = channel::<()>();
        let thread = thread::Builder::new().name("v2m-listed".into());
        let thread = thread
            .spawn(move || {
                promote(Role::Vad);
                promote(Role::Capture);
                send.send(thread_id()).unwrap();
                let _ = wait.recv();
            })
            .unwrap();
        let tid = receive.recv().unwrap();
        let listed = || {
            let all = threads().into_iter();
            all.filter(|thread| thread.tid == tid).collect::<Vec<_>>()
        };
        let found = listed();
        assert_eq!(found.len(), 1, "the newer promotion counts: {found:?}");
        assert_eq!(
            (&*found[0].name, &*found[0].role),
            ("v2m-listed", "capture")
        );
        assert_eq!(found[0].got, inspect(tid).unwrap().to_string());
        assert!(found[0].real_time || !found[0].why_not.is_empty());
        drop(done);
        thread.join().unwrap();
        assert!(listed().is_empty());
    }
}
