//! What is to be judged: files as they are named, those in folders, and those that a pattern
//! fits.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use v2m_engine::{Error, ErrorKind, Result};

/// What is looked for in folders.
const EXTENSIONS: [&str; 15] = [
    "wav", "wave", "rf64", "bw64", "flac", "mp3", "ogg", "oga", "m4a", "mp4", "aac", "aif", "aiff",
    "aifc", "caf",
];

/// One file.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    /// As it is opened and shown.
    pub(super) path: PathBuf,
    /// What files about it are called, without an extension: its own name, below the folder
    /// that was given. No other input has it.
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
            for path in pattern(name)? {
                let own = path.file_name().map(PathBuf::from).unwrap_or_default();
                found.push((path, own));
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
    found.retain(|(path, _)| seen.insert(path.clone()));
    named(found)
}

/// Names without extensions where that is enough to tell the files apart.
fn named(found: Vec<(PathBuf, PathBuf)>) -> Result<Vec<Input>> {
    let count = |names: &mut dyn Iterator<Item = PathBuf>| {
        let mut all = HashMap::<PathBuf, usize>::new();
        names.for_each(|name| *all.entry(name).or_default() += 1);
        all
    };
    let short = count(&mut found.iter().map(|(_, name)| name.with_extension("")));
    let inputs: Vec<Input> = found
        .into_iter()
        .map(|(path, name)| match short[&name.with_extension("")] {
            1 => (path, name.with_extension("")),
            _ => (path, name),
        })
        .map(|(path, name)| Input { path, name })
        .collect();
    let full = count(&mut inputs.iter().map(|input| input.name.clone()));
    match inputs.iter().find(|input| full[&input.name] > 1) {
        None => Ok(inputs),
        Some(twice) => {
            let message = format!(
                "two of the files are called {}: name the folder that holds both, or run them apart",
                twice.name.display()
            );
            Err(Error::new(ErrorKind::Invalid, message))
        }
    }
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
        let inputs = named(found.collect())?;
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
