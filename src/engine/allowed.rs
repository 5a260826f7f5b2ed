//! Which programs may listen, where the user says so: by what the kernel runs in a process, not
//! by what it calls itself.

use std::fs::Metadata;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// The programs that may; without a list all may.
#[derive(Debug)]
pub(super) struct Allowed(Option<Vec<PathBuf>>);

impl Allowed {
    pub(super) fn new(programs: Option<Vec<PathBuf>>) -> Self {
        for program in programs.iter().flatten() {
            if let Err(cause) = program.metadata() {
                tracing::warn!("allow: {}: {cause}", program.display());
            }
        }
        Self(programs)
    }

    /// Whether the process at the other end of a connection may listen, or why not.
    pub(super) fn admit(&self, pid: i32) -> Result<(), String> {
        let Some(programs) = &self.0 else {
            return Ok(());
        };
        // The virtual microphone is a client of its own engine.
        if u32::try_from(pid) == Ok(std::process::id()) {
            return Ok(());
        }
        let (path, program) = running(pid).map_err(|why| {
            format!("which program process {pid} runs can't be told ({why}), and `allow` names those that may listen")
        })?;
        // Files, not names: what stands at a path in another mount namespace, or was put there
        // since the process began, is another program.
        let is_it = |allowed: &PathBuf| {
            let allowed = allowed.metadata();
            allowed.is_ok_and(|file| (file.dev(), file.ino()) == (program.dev(), program.ino()))
        };
        if programs.iter().any(is_it) {
            return Ok(());
        }
        let path = v2m_error::text::name(&path.to_string_lossy());
        Err(match path.strip_suffix(" (deleted)") {
            Some(path) => format!(
                "{path} was replaced since process {pid} began, and `allow` names the programs that may listen: start it again"
            ),
            None => format!(
                "{path} may not listen: `allow` in config.toml doesn't name it; add it there, and restart the engine"
            ),
        })
    }
}

/// The file that a process runs, and its path.
fn running(pid: i32) -> Result<(PathBuf, Metadata), String> {
    let number = Pid::from_raw(pid.max(0)).ok_or("it is not in this engine's namespace")?;
    // Held, it shows afterwards that the number was this process's all the while.
    let process = pidfd_open(number, PidfdFlags::empty()).map_err(|cause| cause.to_string())?;
    let link = format!("/proc/{pid}/exe");
    let path = std::fs::read_link(&link).map_err(|cause| cause.to_string())?;
    let program = std::fs::metadata(&link).map_err(|cause| cause.to_string())?;
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ended, PollTimeout::ZERO) {
        Ok(0) => Ok((path, program)),
        Ok(_) => Err("it has ended".to_owned()),
        Err(cause) => Err(cause.desc().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        fn pid(&self) -> i32 {
            self.0.id().try_into().unwrap()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Runs a copy of sleep(1) of this test's own.
    fn sleeper(name: &str) -> (Sleeper, PathBuf) {
        let path = std::env::temp_dir().join(format!("v2m-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        std::fs::copy("/bin/sleep", &path).unwrap();
        let child = Command::new(&path).arg("60").spawn().unwrap();
        (Sleeper(child), path)
    }

    #[test]
    fn the_file_counts_that_the_kernel_runs() {
        let (process, path) = sleeper("allowed");
        let link = path.with_extension("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let admit = |list: &[&PathBuf]| {
            let list = list.iter().map(|path| (*path).clone()).collect();
            Allowed::new(Some(list)).admit(process.pid())
        };
        let other = PathBuf::from("/bin/sleep");
        assert_eq!(admit(&[&path]), Ok(()));
        assert_eq!(admit(&[&other, &link]), Ok(()), "by another name of it");
        assert_eq!(Allowed::new(None).admit(process.pid()), Ok(()));
        let refused = admit(&[&other]).unwrap_err();
        assert!(
            refused.contains(path.to_str().unwrap()) && refused.contains("allow"),
            "{refused}"
        );
        assert!(admit(&[]).is_err(), "an empty list is nobody's");
        // Another program under its name.
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/true", &path).unwrap();
        let refused = admit(&[&path]).unwrap_err();
        assert!(refused.contains("start it again"), "{refused}");
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_file(&link);
    }

    #[test]
    fn who_is_gone_or_unknown_is_refused() {
        let (mut process, path) = sleeper("gone");
        process.0.kill().unwrap();
        process.0.wait().unwrap();
        let allowed = Allowed::new(Some(vec![path.clone()]));
        for pid in [process.pid(), 0, -1, i32::MAX] {
            assert!(allowed.admit(pid).is_err(), "{pid}");
        }
        let _ = std::fs::remove_file(&path);
    }
}
