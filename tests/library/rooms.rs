//! Rooms of the house import each other in one direction only. Between crates the compiler
//! sees to that; here it is held for the folders of `src/` and the files of the binding.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who imports whom, and where.
type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<PathBuf>>>;

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// The first component below `root`: a folder, or a file without its ending.
fn room(root: &Path, file: &Path) -> String {
    let below = file.strip_prefix(root).expect("below the root");
    let first = below.iter().next().expect("not the root itself");
    Path::new(first)
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Names that follow `crate::`: one, or those in braces at its first level.
fn imported(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            names.extend(
                words(rest.split("::").next().unwrap_or_default())
                    .first()
                    .cloned(),
            );
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (i, c) in list.char_indices() {
            let ends = depth == 0 && (c == ',' || c == '}');
            if ends {
                names.extend(words(&list[start..i]).first().cloned());
                start = i + 1;
            }
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    names
}

fn imports(root: &Path) -> Imports {
    let files = sources(root);
    let rooms: BTreeSet<String> = files.iter().map(|file| room(root, file)).collect();
    let mut imports = Imports::new();
    for file in files {
        let here = room(root, &file);
        // The root knows all of them.
        if here == "lib" || here == "main" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source");
        for name in imported(&text) {
            if rooms.contains(&name) && name != here {
                let from = imports.entry(here.clone()).or_default();
                from.entry(name).or_default().insert(file.clone());
            }
        }
    }
    imports
}

/// A way from a room back to itself, if there is one.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn walk(imports: &Imports, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let here = way.last().expect("a beginning").clone();
        for next in imports.get(&here).into_iter().flat_map(BTreeMap::keys) {
            if let Some(start) = way.iter().position(|room| room == next) {
                way.drain(..start);
                way.push(next.clone());
                return true;
            }
            if !done.contains(next) {
                way.push(next.clone());
                if walk(imports, way, done) {
                    return true;
                }
                way.pop();
            }
        }
        done.insert(here);
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|room| {
        let mut way = vec![room.clone()];
        walk(imports, &mut way, &mut done).then_some(way)
    })
}

fn has_no_circle(root: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let imports = imports(&root);
    assert!(
        !imports.is_empty(),
        "no import was found: has the tree moved?"
    );
    if let Some(way) = circle(&imports) {
        let steps = way.windows(2).map(|step| {
            let files = &imports[&step[0]][&step[1]];
            format!("{} -> {} in {files:?}", step[0], step[1])
        });
        panic!(
            "imports in a circle:\n{}",
            steps.collect::<Vec<_>>().join("\n")
        );
    }
}

#[test]
fn rooms_of_the_engine_import_in_one_direction() {
    has_no_circle("src");
}

#[test]
fn files_of_the_binding_import_in_one_direction() {
    has_no_circle("python/src");
}

#[test]
fn a_circle_is_found() {
    let mut imports = Imports::new();
    let mut import = |from: &str, to: &str| {
        let from = imports.entry(from.to_owned()).or_default();
        from.entry(to.to_owned()).or_default().insert("here".into());
    };
    import("a", "b");
    import("b", "c");
    import("d", "b");
    assert_eq!(circle(&imports), None);
    let mut import = |from: &str, to: &str| {
        let from = imports.entry(from.to_owned()).or_default();
        from.entry(to.to_owned()).or_default().insert("here".into());
    };
    import("c", "b");
    assert_eq!(
        circle(&imports),
        Some(vec!["b".into(), "c".into(), "b".into()])
    );
    let names = imported("use crate::{a::{x, y}, b, c::z}; crate::d::e(); use crate::f;");
    assert_eq!(names, ["a", "b", "c", "d", "f"]);
}

/// Each file is one more to be argued for: what doesn't need it goes by a library.
#[test]
fn unsafe_code_stands_in_few_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = sources(&root.join("src"));
    all.extend(sources(&root.join("python/src")));
    for entry in fs::read_dir(root.join("crates")).expect("the crates") {
        all.extend(sources(&entry.expect("a crate").path().join("src")));
    }
    let is_unsafe = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source");
        let code = text.lines().filter(|line| !line.trim().starts_with("//"));
        code.flat_map(str::split_whitespace)
            .any(|word| word == "unsafe")
    };
    all.retain(is_unsafe);
    assert!((1..=15).contains(&all.len()), "{}: {all:#?}", all.len());
}

/// A way that is longer is to be told, and one that is told is there.
#[test]
fn a_sample_passes_eight_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("docs/architecture.md")).expect("the map");
    let (_, way) = map
        .split_once("## Follow a sample")
        .expect("the sample's way");
    let rows = way.lines().filter_map(|line| line.strip_prefix("| `"));
    let files: Vec<&str> = rows
        .filter_map(|row| row.split('`').next())
        .take(9)
        .collect();
    let files = &files[..files
        .iter()
        .position(|file| !file.ends_with(".rs"))
        .unwrap_or(files.len())];
    assert!((6..=8).contains(&files.len()), "{files:#?}");
    for file in files {
        assert!(root.join(file).is_file(), "there is no {file}");
    }
}
