//! Whether the user has muted speech capture. It is a file in the runtime directory, at which
//! every engine of the user looks, the private ones too; and one among what programs remember,
//! by which it outlives a restart of the machine.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

const NAME: &str = "v2m-engine/muted";

/// Whether engines are to capture no microphone now.
#[derive(Clone, Debug)]
pub struct Mute {
    runtime: Option<PathBuf>,
    state: Option<PathBuf>,
}

impl Mute {
    /// This user's, by the environment.
    pub fn of_this_user() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = || Some(Path::new(&set("HOME")?).join(".local/state"));
        let state = set("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
        Self {
            runtime: set("XDG_RUNTIME_DIR").map(|directory| Path::new(&directory).join(NAME)),
            state: state.map(|directory| directory.join(NAME)),
        }
    }

    /// Takes up what was said before the machine was started again. Once, at an engine's start:
    /// unlike [`is_on`](Self::is_on) it may wait for a disk.
    pub fn restore(&self) {
        let remembered = self.state.as_ref().is_some_and(|file| file.exists());
        if let Some(file) = self.runtime.as_ref().filter(|_| remembered)
            && let Err(cause) = create(file)
        {
            tracing::warn!("{} can't be made: {cause}; it was muted", file.display());
        }
    }

    /// Whether it is muted; looks at memory only.
    pub fn is_on(&self) -> bool {
        self.runtime.as_ref().is_some_and(|file| file.exists())
    }

    /// Mutes, or ends that: all of this user's engines follow within a tenth of a second.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`]: there is no runtime directory; [`ErrorKind::System`]: a file
    /// can't be made or removed.
    pub fn set(&self, on: bool) -> Result<()> {
        let Some(runtime) = &self.runtime else {
            let message = "no engine can be reached: set XDG_RUNTIME_DIR (a login does that)";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        // At once first; then what is remembered.
        for file in [Some(runtime), self.state.as_ref()].into_iter().flatten() {
            let done = match on {
                true => create(file),
                false => remove(file),
            };
            let failed = |cause| Error::system(format!("cannot change {}", file.display()), cause);
            done.map_err(failed)?;
        }
        Ok(())
    }
}

fn create(file: &Path) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
    }
    fs::File::create(file).map(drop)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_outlives_the_runtime_directory() {
        let base = std::env::temp_dir().join(format!("v2m-mute-{}", std::process::id()));
        let mute = Mute {
            runtime: Some(base.join("run").join(NAME)),
            state: Some(base.join("state").join(NAME)),
        };
        mute.restore();
        assert!(!mute.is_on());
        mute.set(false).unwrap();
        mute.set(true).unwrap();
        mute.set(true).unwrap();
        assert!(mute.is_on());
        fs::remove_dir_all(base.join("run")).unwrap();
        assert!(!mute.is_on());
        mute.restore();
        assert!(mute.is_on());
        mute.set(false).unwrap();
        mute.restore();
        assert!(!mute.is_on());
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn without_a_runtime_directory_it_says_so() {
        let mute = Mute {
            runtime: None,
            state: None,
        };
        mute.restore();
        assert!(!mute.is_on());
        assert_eq!(mute.set(true).unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
