//! Scheduling, affinity and memory for threads that must not be late.
//!
//! Nothing here fails because a privilege is missing: each function takes what
//! it can get and returns what that is and why it isn't more, for `status`.
//! None of it belongs on a real-time thread's path: call it before the loop.

pub mod bounded;
mod memory;
mod noted;
mod registry;
mod rtkit;
#[allow(unsafe_code, reason = "system calls that have no safe wrapper")]
mod sys;

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, gettid};
use serde::{Deserialize, Serialize};

pub use memory::{DmaLatency, lock, lock_all, lock_by, lock_stack, lock_stack_of};
pub use noted::Noted;
pub use registry::{grants, observe, threads};
pub use sys::die_with_this_thread;

/// How long RTKit may take to answer.
const RTKIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a thread does, and so how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Capture,
    /// Wakes readers; just below capture.
    Wake,
    /// Cancels echo, between the two.
    Echo,
    /// Follows with the speech track; may be late without losing anything.
    Vad,
}

impl Role {
    /// The priority asked for where the highest that may be had is `highest`.
    /// Above threaded interrupts (50), below PipeWire's data thread (88).
    fn priority(self, highest: i32) -> i32 {
        let capture = highest.min(70);
        match self {
            Self::Capture => capture,
            Self::Wake => (capture - 1).max(1),
            Self::Echo => (capture - 5).max(1),
            Self::Vad => (capture - 10).max(1),
        }
    }

    /// The nice value asked for where there is no real-time scheduling.
    fn nice(self) -> i32 {
        match self {
            Self::Capture | Self::Wake => -11,
            Self::Echo | Self::Vad => -6,
        }
    }
}

/// How the kernel orders a thread among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Ordinary time sharing.
    Other,
    /// Real time, until it blocks.
    Fifo,
    /// Real time, in turns with its equals.
    RoundRobin,
    /// Time sharing, taken for long computation.
    Batch,
    /// Only when nothing else runs.
    Idle,
    /// Real time with a budget.
    Deadline,
    /// One that this program doesn't know.
    Unknown,
}

/// What a thread really has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Its policy, without the reset-on-fork flag.
    pub policy: Policy,
    /// Its real-time priority, 1 to 99; 0 without real-time scheduling.
    pub priority: i32,
    /// Its nice value, -20 to 19; means something without real-time scheduling only.
    pub nice: i32,
    /// The CPUs that it may run on.
    pub cpus: Vec<usize>,
}

impl std::fmt::Display for Scheduling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.policy {
            Policy::Fifo => write!(f, "fifo {}", self.priority),
            Policy::RoundRobin => write!(f, "round robin {}", self.priority),
            Policy::Deadline => f.write_str("deadline"),
            _ => write!(f, "not real time, nice {}", self.nice),
        }
    }
}

/// Who gave a thread its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// The kernel, by CAP_SYS_NICE or RLIMIT_RTPRIO.
    Limits,
    /// RTKit over D-Bus.
    RtKit,
    /// The kernel, a nice value only.
    Nice,
    /// Whoever made the thread; it is only looked at.
    Library,
    /// Nobody: it runs as any other.
    Nothing,
}

/// What [`promote`] asked for, got, and why it got no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    pub role: Role,
    pub tid: i32,
    /// The SCHED_FIFO priority asked for first.
    pub asked: i32,
    /// What it has now; `None` if the thread is gone.
    pub got: Option<Scheduling>,
    /// Who gave it.
    pub by: Means,
    /// Each refusal on the way, in order.
    pub why_not: Vec<String>,
}

/// Whether something asked of the system was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub asked: String,
    pub granted: bool,
    pub why_not: Option<String>,
}

impl Grant {
    fn new<E: std::fmt::Display>(asked: impl Into<String>, result: Result<(), E>) -> Self {
        Self {
            asked: asked.into(),
            granted: result.is_ok(),
            why_not: result.err().map(|error| error.to_string()),
        }
    }
}

/// [`promote_thread`] for the calling thread.
pub fn promote(role: Role) -> Promotion {
    promote_thread(role, gettid().as_raw())
}

/// [`promote_thread`] that doesn't wait: what the limits allow the thread gets at once, and
/// who else is to be asked is asked by another thread, which then tells `done`.
pub fn promote_soon(role: Role, tid: i32, done: impl FnOnce(Promotion) + Send + 'static) {
    sys::survive_rttime();
    if by_limits(role, tid).is_ok() {
        return done(promote_thread(role, tid));
    }
    let asked = std::thread::Builder::new()
        .name("v2m-promote".into())
        .spawn(move || done(promote_thread(role, tid)));
    if let Err(error) = asked {
        tracing::warn!("nobody can be asked for real time: {error}");
    }
}

/// Makes a thread of this process as urgent as its role wants: SCHED_FIFO (not
/// inherited by its children) where limits allow, else RTKit, else a nice
/// value, else nothing. May wait two seconds for RTKit. [`threads`] lists it from now on.
///
/// A real-time thread that runs longer than RLIMIT_RTTIME allows becomes an
/// ordinary one again instead of having the process killed.
pub fn promote_thread(role: Role, tid: i32) -> Promotion {
    let mut why_not = Vec::new();
    let by = means(role, tid, &mut why_not);
    let promotion = Promotion {
        role,
        tid,
        asked: role.priority(99),
        got: inspect(tid),
        by,
        why_not,
    };
    registry::promoted(&promotion);
    promotion
}

/// The record of the calling thread, which deliberately asks for nothing.
pub fn unpromoted(role: Role, why: &str) -> Promotion {
    let tid = thread_id();
    Promotion {
        role,
        tid,
        asked: 0,
        got: inspect(tid),
        by: Means::Nothing,
        why_not: vec![why.into()],
    }
}

fn means(role: Role, tid: i32, why_not: &mut Vec<String>) -> Means {
    sys::survive_rttime();
    match by_limits(role, tid) {
        Ok(()) => return Means::Limits,
        Err(reason) => why_not.push(reason),
    }
    match rtkit::make_realtime(role, tid, RTKIT_TIMEOUT) {
        Ok(()) => return Means::RtKit,
        Err(reason) => why_not.push(format!("RTKit: {reason}")),
    }
    match by_nice(role, tid) {
        Ok(()) => Means::Nice,
        Err(reason) => {
            why_not.push(reason);
            Means::Nothing
        }
    }
}

fn by_limits(role: Role, tid: i32) -> Result<(), String> {
    // With the capability no limit holds. Capture's own priority tells, whoever
    // asks: one below the limit would be granted without, level with capture.
    let Err(refused) = sys::set_fifo(tid, Role::Capture.priority(99)) else {
        return sys::set_fifo(tid, role.priority(99)).map_err(|error| error.to_string());
    };
    let limit = raise(Resource::RLIMIT_RTPRIO).min(99) as i32;
    if limit == 0 {
        return Err(format!("SCHED_FIFO: {refused}; RLIMIT_RTPRIO is 0"));
    }
    sys::set_fifo(tid, role.priority(limit))
        .map_err(|error| format!("SCHED_FIFO with RLIMIT_RTPRIO {limit}: {error}"))
}

fn by_nice(role: Role, tid: i32) -> Result<(), String> {
    let current = sys::scheduling(tid)
        .map_err(|error| format!("nice: {error}"))?
        .nice;
    let refused = match sys::set_nice(tid, role.nice()) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // RLIMIT_NICE 20 + n stands for the nice value -n.
    let lowest = 20 - raise(Resource::RLIMIT_NICE).min(40) as i32;
    if lowest >= current {
        return Err(format!(
            "nice {}: {refused}; RLIMIT_NICE allows no less than {current}",
            role.nice()
        ));
    }
    sys::set_nice(tid, lowest.max(role.nice())).map_err(|error| format!("nice {lowest}: {error}"))
}

/// Raises a soft limit to the hard one; what it is then.
fn raise(resource: Resource) -> u64 {
    let Ok((soft, hard)) = getrlimit(resource) else {
        return 0;
    };
    if soft != hard && setrlimit(resource, hard, hard).is_ok() {
        hard
    } else {
        soft
    }
}

/// What a thread of any process has; `None` if there is no such thread. A
/// library's thread (PipeWire's data thread) says nothing about itself: note
/// its id in it, and look from another thread.
pub fn inspect(tid: i32) -> Option<Scheduling> {
    sys::scheduling(tid).ok()
}

/// The highest priority that RTKit gives, or why it gives none. May wait two seconds.
///
/// # Errors
/// The reason, in words: no bus, no RTKit, no answer.
pub fn rtkit_priority() -> Result<i32, String> {
    rtkit::highest(RTKIT_TIMEOUT)
}

/// Whether asking for real time would hang: the limits allow none, and RTKit, or the bus that
/// leads to it, takes the question and says nothing for a second.
pub fn hangs() -> bool {
    let limit = Duration::from_secs(1);
    let probe = std::thread::spawn(|| by_limits(Role::Capture, thread_id()));
    if matches!(probe.join(), Ok(Ok(()))) {
        return false;
    }
    let begin = Instant::now();
    rtkit::highest(limit).is_err() && begin.elapsed() >= limit
}

/// The calling thread's id, for [`inspect`].
pub fn thread_id() -> i32 {
    gettid().as_raw()
}

/// Keeps the calling thread on one CPU.
pub fn pin(cpu: usize) -> Grant {
    pin_thread(0, cpu)
}

/// Keeps a thread of this process on one CPU.
pub fn pin_thread(tid: i32, cpu: usize) -> Grant {
    let mut set = CpuSet::new();
    let result = set
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(tid), &set));
    Grant::new(format!("CPU {cpu}"), result)
}

/// The CPU that a thread of this process ran on last; `None` if it is gone.
pub fn last_cpu(tid: i32) -> Option<usize> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    // Field 39 of proc(5); the second one, a name, may hold anything but ends by the last bracket.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(36)?.parse().ok()
}

/// The CPUs that a thread may run on.
fn cpus(tid: i32) -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(tid)).unwrap_or_default();
    (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect()
}

/// RLIMIT_RTTIME as RTKit wants it: the hard limit within `max_us`, and the
/// soft one, which warns, clearly below. Never raises either.
fn limit_rttime(max_us: u64) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_RTTIME).map_err(|error| error.to_string())?;
    let hard = hard.min(max_us);
    let soft = if soft == RLIM_INFINITY || soft >= hard {
        hard / 4 * 3
    } else {
        soft
    };
    setrlimit(Resource::RLIMIT_RTTIME, soft, hard)
        .map_err(|error| format!("RLIMIT_RTTIME: {error}"))?;
    sys::survive_rttime();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_keep_their_order_wherever_the_limit_is() {
        for highest in 2..=99 {
            let [capture, wake, vad] =
                [Role::Capture, Role::Wake, Role::Vad].map(|role| role.priority(highest));
            assert!(
                capture <= highest && capture > wake && wake >= vad && vad >= 1,
                "{highest}"
            );
        }
        assert_eq!(Role::Wake.priority(1), 1);
    }

    #[test]
    fn a_thread_is_seen_from_another() {
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(thread_id()).unwrap();
            let _ = wait.recv();
        });
        let tid = receive.recv().unwrap();
        let seen = inspect(tid).unwrap();
        assert_eq!(seen.policy, Policy::Other);
        assert_eq!(seen.priority, 0);
        assert!(!seen.cpus.is_empty());
        assert!(seen.cpus.contains(&last_cpu(tid).unwrap()));
        drop(done);
        thread.join().unwrap();
        assert_eq!((inspect(i32::MAX), last_cpu(i32::MAX)), (None, None));
    }

    #[test]
    fn an_impossible_cpu_is_refused_with_a_reason() {
        let grant = pin(CpuSet::count());
        assert!(!grant.granted && grant.why_not.is_some());
        let own = cpus(0)[0];
        let pinned = std::thread::spawn(move || (pin(own), inspect(thread_id()).unwrap().cpus))
            .join()
            .unwrap();
        assert!(pinned.0.granted);
        assert_eq!(pinned.1, [own]);
    }
}
