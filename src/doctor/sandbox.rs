//! A container or a sandbox around the engine.

use std::fmt;
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

impl Sandbox {
    /// By the marks that these leave in the file system below `root`, and snaps in `snap`,
    /// the variable `SNAP_NAME`.
    pub(super) fn find(root: &Path, snap: Option<String>) -> Option<Self> {
        if let Ok(info) = std::fs::read_to_string(root.join(".flatpak-info")) {
            let name = info.lines().find_map(|line| line.strip_prefix("name="));
            return Some(Self::Flatpak(name.unwrap_or_default().to_owned()));
        }
        if let Some(name) = snap.filter(|name| !name.is_empty()) {
            return Some(Self::Snap(name));
        }
        let marks = ["run/.containerenv", ".dockerenv"];
        let marked = marks.iter().any(|mark| root.join(mark).exists());
        marked.then_some(Self::Container)
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
        let find = |snap: &str| Sandbox::find(&root, Some(snap.to_owned()));
        assert_eq!(find(""), None);
        assert_eq!(find("dictate"), Some(Sandbox::Snap("dictate".into())));
        fs::write(root.join("run/.containerenv"), "").unwrap();
        assert_eq!(find(""), Some(Sandbox::Container));
        let info = "[Application]\nname=org.example.Dictate\nruntime=runtime/x\n";
        fs::write(root.join(".flatpak-info"), info).unwrap();
        let found = find("").unwrap();
        assert_eq!(found.to_string(), "the Flatpak org.example.Dictate");
        fs::remove_dir_all(root).unwrap();
    }
}
