//! The system calls that no safe library has: priorities of single threads, surviving
//! RLIMIT_RTTIME, and what a child does before it becomes another program.

use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

use super::{Policy, Scheduling, cpus};

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// SCHED_FIFO for one thread, not for what it starts.
pub(super) fn set_fifo(tid: i32, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: reads the parameters, which outlive the call; `tid` may be any number.
    check(unsafe {
        libc::sched_setscheduler(
            tid,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &parameters,
        )
    })?;
    Ok(())
}

/// One thread's nice value; it has its own on Linux.
pub(super) fn set_nice(tid: i32, nice: i32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, tid as libc::id_t, nice) })?;
    Ok(())
}

pub(super) fn scheduling(tid: i32) -> io::Result<Scheduling> {
    // SAFETY: takes a number only.
    let policy = check(unsafe { libc::sched_getscheduler(tid) })?;
    let mut parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: writes the parameters, which outlive the call.
    check(unsafe { libc::sched_getparam(tid, &mut parameters) })?;
    // -1 is a nice value too: only errno tells it from a failure.
    Errno::clear();
    // SAFETY: takes numbers only.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, tid as libc::id_t) };
    if nice == -1 && Errno::last_raw() != 0 {
        return Err(io::Error::last_os_error());
    }
    let policy = match policy & !libc::SCHED_RESET_ON_FORK {
        libc::SCHED_OTHER => Policy::Other,
        libc::SCHED_FIFO => Policy::Fifo,
        libc::SCHED_RR => Policy::RoundRobin,
        libc::SCHED_BATCH => Policy::Batch,
        libc::SCHED_IDLE => Policy::Idle,
        libc::SCHED_DEADLINE => Policy::Deadline,
        _ => Policy::Unknown,
    };
    Ok(Scheduling {
        policy,
        priority: parameters.sched_priority,
        nice,
        cpus: cpus(tid),
    })
}

pub(super) fn mlock(start: *const u8, len: usize) -> io::Result<()> {
    // SAFETY: reads and writes nothing; an address that isn't mapped is an error.
    check(unsafe { libc::mlock(start.cast(), len) })?;
    Ok(())
}

/// The soft RLIMIT_RTTIME, in microseconds, to go back to.
static SOFT_US: AtomicU64 = AtomicU64::new(libc::RLIM_INFINITY);

/// Has threads that outrun RLIMIT_RTTIME demoted rather than the process
/// killed. Leaves alone who has a handler of his own.
pub(super) fn survive_rttime() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the limit, which outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_RTTIME, &mut limit) } == 0 {
        SOFT_US.store(limit.rlim_cur, Ordering::Relaxed);
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid one (SIG_DFL); both live through
        // the calls. The handler keeps to system calls, atomics and its stack.
        unsafe {
            let mut old: libc::sigaction = mem::zeroed();
            if libc::sigaction(libc::SIGXCPU, ptr::null(), &mut old) != 0
                || old.sa_sigaction != libc::SIG_DFL
            {
                return;
            }
            let mut new: libc::sigaction = mem::zeroed();
            new.sa_sigaction = demote as extern "C" fn(libc::c_int) as usize;
            new.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGXCPU, &new, ptr::null_mut());
        }
    });
}

/// On SIGXCPU, which the kernel sends to the thread that ran through the soft
/// limit: sleeps (that alone sets its count back to zero), makes it an ordinary
/// thread, and puts the soft limit back, which the kernel has just moved a
/// second up, beyond the hard one.
extern "C" fn demote(_signal: libc::c_int) {
    let errno = Errno::last_raw();
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: plain system calls, safe in a signal handler, on arguments of this
    // stack frame.
    unsafe {
        libc::syscall(
            libc::SYS_nanosleep,
            &pause,
            ptr::null_mut::<libc::timespec>(),
        );
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK,
            &ordinary,
        );
        let mut limit = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        let none = ptr::null::<libc::rlimit64>();
        if libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_RTTIME,
            none,
            &mut limit,
        ) == 0
        {
            limit.rlim_cur = SOFT_US.load(Ordering::Relaxed).min(limit.rlim_max);
            let nowhere = ptr::null_mut::<libc::rlimit64>();
            libc::syscall(libc::SYS_prlimit64, 0, libc::RLIMIT_RTTIME, &limit, nowhere);
        }
    }
    Errno::set_raw(errno);
}

/// Has the child of `command` killed when the thread that starts it ends. It takes its
/// signals as they come, also where that thread leaves them to another.
pub fn die_with_this_thread(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) and sigprocmask(2) are called,
    // which are async-signal-safe and touch nothing of the parent's.
    unsafe {
        command.pre_exec(|| {
            SigSet::empty().thread_set_mask()?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        })
    };
}

/// Ends the process at once, whatever its threads are calling.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process and touches nothing of it.
    unsafe { libc::_exit(code) }
}
