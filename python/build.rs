//! Docstrings have one source, `v2m_engine/_native.pyi`: each becomes a file that
//! `doc!("Class.method")` includes. Goes by how that file is formatted (ruff).

use std::collections::BTreeMap;
use std::path::Path;

const STUB: &str = "v2m_engine/_native.pyi";
const QUOTES: &str = "\"\"\"";

fn main() {
    println!("cargo::rerun-if-changed={STUB}");
    let stub = std::fs::read_to_string(STUB).expect("the stub is beside the crate");
    let out = std::env::var("OUT_DIR").expect("cargo sets it");
    for (name, text) in docstrings(&stub) {
        std::fs::write(Path::new(&out).join(name), text).expect("OUT_DIR can be written");
    }
}

/// By the name of what they describe: `Class`, with how to make one, `Class.member`, or
/// `function`.
fn docstrings(stub: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::<String, String>::new();
    let (mut class, mut member) = ("", "");
    let mut lines = stub.lines();
    while let Some(line) = lines.next() {
        let (indent, code) = (line.len() - line.trim_start().len(), line.trim_start());
        let outermost = line.strip_prefix("class ").or(line.strip_prefix("def "));
        if let Some(name) = outermost {
            (class, member) = (identifier(name), "");
        } else if let Some(text) = code.strip_prefix(QUOTES) {
            let text = text_until_quotes(text, &mut lines, indent);
            match (class, member) {
                ("", _) => {}
                (class, "" | "__new__") => {
                    let whole = found.entry(class.to_owned()).or_default();
                    let between = if whole.is_empty() { "" } else { "\n\n" };
                    *whole += &format!("{between}{text}");
                }
                (class, member) => {
                    found.insert(format!("{class}.{member}"), text);
                }
            }
        } else if indent == 4 {
            let code = code.trim_start_matches("async ").trim_start_matches("def ");
            let name = identifier(code);
            // Not a decorator, and not the end of a signature.
            member = if name.is_empty() { member } else { name };
        }
    }
    found
}

fn identifier(code: &str) -> &str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_');
    &code[..end.unwrap_or(code.len())]
}

/// The docstring that begins with `first`, without its own indentation.
fn text_until_quotes<'a>(
    first: &str,
    rest: &mut impl Iterator<Item = &'a str>,
    indent: usize,
) -> String {
    if let Some(text) = first.strip_suffix(QUOTES) {
        return text.to_owned();
    }
    let mut text = vec![first];
    for line in rest {
        let line = line.get(indent..).unwrap_or("");
        if let Some(last) = line.strip_suffix(QUOTES) {
            text.push(last);
            break;
        }
        text.push(line);
    }
    text.join("\n").trim().to_owned()
}
