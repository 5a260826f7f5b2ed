//! A container or a sandbox around the engine.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What only a part of the machine is seen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// With the application's name.
    Flatpak(String),
    Snap(String),
    /// Of Docker, Podman and what is built on them.
    Container,
}

/// The number that the kernel gives the processes' namespace of the machine itself.
const MACHINES_PROCESSES: u64 = 0xefff_fffc;

impl Sandbox {
    /// What this process is in.
    pub(super) fn around() -> Option<Self> {
        let processes = std::fs::metadata("/proc/self/ns/pid").map(|of| of.ino());
        let is_apart = processes.is_ok_and(|number| number != MACHINES_PROCESSES);
        Self::find(Path::new("/"), std::env::var("SNAP_NAME").ok(), is_apart)
    }

    /// By the marks that these leave in the file system below `root`, and snaps in `snap`,
    /// the variable `SNAP_NAME`. A machine whose disk was made from a container's image has
    /// such a mark, too: a container also has processes of its own, `is_apart`.
    fn find(root: &Path, snap: Option<String>, is_apart: bool) -> Option<Self> {
        if let Ok(info) = std::fs::read_to_string(root.join(".flatpak-info")) {
            let name = info.lines().find_map(|line| line.strip_prefix("name="));
            return Some(Self::Flatpak(name.unwrap_or_default().to_owned()));
        }
        if let Some(name) = snap.filter(|name| !name.is_empty()) {
            return Some(Self::Snap(name));
        }
        let marks = ["run/.containerenv", ".dockerenv"];
        let marked = marks.iter().any(|mark| root.join(mark).exists());
        (marked && is_apart).then_some(Self::Container)
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flatpak(name) => write!(f, "the Flatpak {name}"),
            Self::Snap(name) => write!(f, "the snap {name}"),
            Self::Container => f.write_str("a container"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn each_is_known_by_its_marks() {
        let root = std::env::temp_dir().join(format!("v2m-sandbox-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        let find = |snap: &str| Sandbox::find(&root, Some(snap.to_owned()), true);
        assert_eq!(find(""), None);
        assert_eq!(find("dictate"), Some(Sandbox::Snap("dictate".into())));
        fs::write(root.join("run/.containerenv"), "").unwrap();
        assert_eq!(find(""), Some(Sandbox::Container));
        assert_eq!(Sandbox::find(&root, None, false), None);
        let info = "[Application]\nname=org.example.Dictate\nruntime=runtime/x\n";
        fs::write(root.join(".flatpak-info"), info).unwrap();
        let found = find("").unwrap();
        assert_eq!(found.to_string(), "the Flatpak org.example.Dictate");
        fs::remove_dir_all(root).unwrap();
    }
}
