//! Children of the bench: they die with it, and their CPU time is counted.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use v2m_error::{Error, ErrorKind, Result};
use v2m_rt::die_with_this_thread;

/// How long a child may take to end when asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A child that is ended when dropped, and dies with the thread that started it.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Result<Self> {
        die_with_this_thread(command);
        let program = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).map_err(|cause| {
            let message = format!("cannot start {program}: {cause}; is it installed?");
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    /// Waits for its end, `limit` at most.
    pub fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        if self.wait(GRACE).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// CPU time of a process and its children so far, in nanoseconds.
pub fn cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let of_task = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let children: u64 = read("children")
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .map(cpu_ns)
            .sum();
        children + first_number(&read("schedstat"))
    };
    tasks.flatten().map(of_task).sum()
}

/// CPU time of one thread of this process so far, in nanoseconds.
pub fn thread_cpu_ns(tid: i32) -> u64 {
    first_number(
        &fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap_or_default(),
    )
}

fn first_number(text: &str) -> u64 {
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_of_children_counts() {
        let mut busy = Command::new("sh");
        busy.args(["-c", "sh -c 'while :; do :; done' & wait"]);
        let process = Process::start(&mut busy).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while cpu_ns(process.0.id()) < 50_000_000 {
            assert!(Instant::now() < deadline, "the child's time is not seen");
            std::thread::sleep(Duration::from_millis(10));
        }
        // The grandchild has no reason to end by itself.
        let group = fs::read_to_string(format!("/proc/{0}/task/{0}/children", process.0.id()));
        for pid in group.unwrap().split_whitespace() {
            let _ = kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL);
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Process::start(&mut Command::new("/nonexistent/program")).unwrap_err();
        assert!(
            error.to_string().contains("/nonexistent/program"),
            "{error}"
        );
    }
}
