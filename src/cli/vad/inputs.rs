//! What is to be judged: files as they are named, those in folders, and those that a pattern
//! fits.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use v2m_error::{Error, ErrorKind, Result};

/// What is looked for in folders; Opus, too, so that it is not passed over without a word.
const EXTENSIONS: [&str; 16] = [
    "wav", "wave", "rf64", "bw64", "flac", "mp3", "ogg", "oga", "opus", "m4a", "mp4", "aac", "aif",
    "aiff", "aifc", "caf",
];

/// One file.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    /// As it is opened and shown.
    pub(super) path: PathBuf,
    /// What files about it are called, without an extension: its own name, below the folder
    /// that was given, or that a pattern begins with.
    pub(super) name: PathBuf,
}

/// All files, in the order of the names, those of a folder sorted, each once.
///
/// Errors: [`ErrorKind::Invalid`] for a folder or a pattern that holds none.
pub(super) fn find(names: &[PathBuf]) -> Result<Vec<Input>> {
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        if name.is_dir() {
            for path in folder(name)? {
                let below = path.strip_prefix(name).unwrap_or(&path).to_owned();
                found.push((path, below));
            }
        } else if name.exists() || !is_pattern(name) {
            // What isn't there is told when its turn comes.
            let own = name.file_name().map(PathBuf::from);
            found.push((name.clone(), own.unwrap_or_else(|| name.clone())));
        } else {
            let fixed = name
                .components()
                .take_while(|part| !is_pattern(part.as_ref()));
            let fixed: PathBuf = fixed.collect();
            let found_by = pattern(name)?.into_iter();
            // As in folders, links to folders are not followed.
            for path in found_by.filter(|path| !goes_through_link(path, &fixed)) {
                let below = path.strip_prefix(&fixed).unwrap_or(&path).to_owned();
                found.push((path, below));
            }
        }
        if found.len() == before {
            let message = format!(
                "{}: no audio file in it; known are {}",
                name.display(),
                EXTENSIONS.join(", ")
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    let mut seen = HashSet::new();
    found.retain(|(path, _)| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    Ok(named(found))
}

/// Fails if files about two of them would have one name.
pub(super) fn check_names(inputs: &[Input]) -> Result<()> {
    let mut seen = HashSet::new();
    match inputs.iter().find(|input| !seen.insert(&input.name)) {
        None => Ok(()),
        Some(twice) => {
            let message = format!(
                "two of the files are called {}: name the folder that holds both, or run them apart",
                twice.name.display()
            );
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
}

/// Names without extensions where that is enough to tell the files apart.
fn named(found: Vec<(PathBuf, PathBuf)>) -> Vec<Input> {
    let mut short = HashMap::<PathBuf, usize>::new();
    for (_, name) in &found {
        *short.entry(name.with_extension("")).or_default() += 1;
    }
    let input = |(path, name): (PathBuf, PathBuf)| {
        let bare = name.with_extension("");
        let name = if short[&bare] == 1 { bare } else { name };
        Input { path, name }
    };
    found.into_iter().map(input).collect()
}

fn is_pattern(name: &Path) -> bool {
    name.to_string_lossy().contains(['*', '?', '['])
}

fn pattern(name: &Path) -> Result<Vec<PathBuf>> {
    let text = name.to_string_lossy();
    let found = glob::glob(&text).map_err(|cause| {
        let message = format!("{text}: not a pattern for files: {cause}");
        Error::new(ErrorKind::Invalid, message)
    })?;
    Ok(found.flatten().filter(|path| path.is_file()).collect())
}

/// Whether a folder on the way from `base` to `path` is a link.
fn goes_through_link(path: &Path, base: &Path) -> bool {
    let folders = path.ancestors().skip(1);
    let mut below = folders.take_while(|folder| *folder != base && !folder.as_os_str().is_empty());
    below.any(Path::is_symlink)
}

/// All audio files below a folder, sorted. Links to folders are not followed.
fn folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let failed = |cause| {
            let message = format!("can't look into {}", folder.display());
            Error::system(message, cause)
        };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if has_audio_extension(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn has_audio_extension(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|own| EXTENSIONS.iter().any(|known| own == *known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[(&str, &str)]) -> Result<Vec<String>> {
        let found = found.iter().map(|(path, name)| (path.into(), name.into()));
        let inputs = named(found.collect());
        check_names(&inputs)?;
        let text = |input: &Input| input.name.display().to_string();
        Ok(inputs.iter().map(text).collect())
    }

    #[test]
    fn what_is_written_about_two_files_never_has_one_name() {
        let found = names(&[("x/a.wav", "a.wav"), ("x/b.c.wav", "b.c.wav")]);
        assert_eq!(found.expect("two names"), ["a", "b.c"]);
        let found = names(&[("x/a.wav", "a.wav"), ("x/a.mp3", "a.mp3")]);
        assert_eq!(found.expect("two names"), ["a.wav", "a.mp3"]);
        let found = names(&[("x/1/a.wav", "1/a.wav"), ("x/2/a.wav", "2/a.wav")]);
        assert_eq!(found.expect("two names"), ["1/a", "2/a"]);
        let twice = names(&[("x/a.wav", "a.wav"), ("y/a.wav", "a.wav")]);
        assert!(twice.expect_err("one name").to_string().contains("a.wav"));
    }
}
