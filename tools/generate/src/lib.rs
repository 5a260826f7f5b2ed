//! Manual pages, completions and the default configuration, for packages. Made from the
//! arguments' own types and the configuration's, so that none of it can say anything else
//! than `--help`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::roff::{Roff, bold, italic, roman};
use v2m_engine::config::Layer;
use v2m_error::{Error, Result};

const SYSTEM_FILE: &str = "/etc/v2m-engine/config.toml";

/// Writes man/, completions/ and config.toml into `out`.
pub fn generate(out: &Path) -> Result<()> {
    let mut command = v2m_engine::cli::command();
    let directory = |name: &str| -> Result<PathBuf> {
        let path = out.join(name);
        fs::create_dir_all(&path).map_err(|cause| failed(&path, cause))?;
        Ok(path)
    };
    let man = directory("man")?;
    clap_mangen::generate_to(command.clone(), &man).map_err(|cause| failed(&man, cause))?;
    write(&man.join("v2m-engine.toml.5"), &configuration_page(&keys()))?;

    let completions = directory("completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "v2m-engine", &completions)
            .map_err(|cause| failed(&completions, cause))?;
    }
    write(&out.join("config.toml"), &default_configuration(&keys()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|cause| failed(path, cause))
}

fn failed(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::system(format!("cannot write {}", path.display()), cause)
}

/// A key of the configuration, as the flag of the same meaning describes it.
struct Key {
    /// The table that it stands in; `None` for the top of the file.
    table: Option<String>,
    name: String,
    flag: String,
    help: String,
    /// The values that it takes, in words.
    values: String,
    /// As TOML; `None` if the key is unset by default.
    default: Option<String>,
}

/// All keys, in the order of `--help`.
fn keys() -> Vec<Key> {
    let command = Layer::augment_args(Command::new("v2m-engine"));
    let keys = command.get_arguments().map(|arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (help, default) = split_default(&help);
        let switch = !arg.get_action().takes_values();
        let possible: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        let named: Vec<String> = arg
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        let off = matches!(arg.get_action(), clap::ArgAction::SetFalse);
        let name = arg.get_id().to_string();
        let flag = arg.get_long().unwrap_or_default();
        // A table's name begins the flags of its keys, and is the one of what switches it on.
        let table = flag.replace('-', "_");
        let table = match name.as_str() {
            "enabled" => Some(table.as_str()),
            _ => table.strip_suffix(&format!("_{name}")).filter(|_| !off),
        };
        Key {
            table: table.map(str::to_owned),
            flag: format!("--{flag}"),
            name,
            values: match (switch, possible.is_empty()) {
                (true, _) => "true or false".into(),
                (_, false) => possible.join(", "),
                _ => named.join(" "),
            },
            default: match (switch, off) {
                (true, off) => Some(off.to_string()),
                _ => default.map(|text| toml(&text)),
            },
            help: match off {
                true => format!("With false: {}", lower_first(&help)),
                false => help,
            },
        }
    });
    let mut keys: Vec<Key> = keys.collect();
    // Where a table's key is called like one of another table, its flag's whole name is its own.
    let tables: Vec<String> = keys.iter().filter_map(|key| key.table.clone()).collect();
    for key in keys.iter_mut().filter(|key| key.table.is_none()) {
        let split = |table: &String| {
            let name = key.name.strip_prefix(table)?.strip_prefix('_')?;
            Some((table.clone(), name.to_owned()))
        };
        if let Some((table, name)) = tables.iter().find_map(split) {
            (key.table, key.name) = (Some(table), name);
        }
    }
    keys
}

/// Help without its trailing "[default: …]", and that.
fn split_default(help: &str) -> (String, Option<String>) {
    match help.split_once("[default: ") {
        Some((before, after)) => (
            before.trim_end().to_owned(),
            Some(after.trim_end().trim_end_matches(']').to_owned()),
        ),
        None => (help.to_owned(), None),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// A value as TOML writes it: numbers and booleans bare, else quoted.
fn toml(text: &str) -> String {
    match text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() {
        true => text.to_owned(),
        false => format!("{text:?}"),
    }
}

impl Key {
    /// As it can be written at the top of the file.
    fn path(&self) -> String {
        match &self.table {
            Some(table) => format!("{table}.{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Every key with its help, commented out at its default.
fn default_configuration(keys: &[Key]) -> String {
    let mut table = None;
    let mut out = String::from(
        "# v2m-engine's configuration for all users. A user's own file,\n\
         # ~/.config/v2m-engine/config.toml, goes over it key by key, and flags of\n\
         # `v2m-engine run` go over both. See v2m-engine.toml(5).\n\
         #\n\
         # Commented out are the defaults.\n",
    );
    for key in keys {
        out.push('\n');
        if let Some(name) = key.table.as_ref().filter(|name| table != Some(*name)) {
            let _ = writeln!(out, "#[{name}]");
            table = Some(name);
        }
        for line in wrap(&format!("{} ({})", key.help, key.values), 76) {
            let _ = writeln!(out, "# {line}");
        }
        let _ = match &key.default {
            Some(default) => writeln!(out, "#{} = {default}", key.name),
            None => writeln!(out, "# Not set: {}", key.name),
        };
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// v2m-engine.toml(5).
fn configuration_page(keys: &[Key]) -> String {
    let mut page = Roff::new();
    let version = format!("v2m-engine {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["v2m-engine.toml", "5", "", version.as_str(), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("v2m-engine.toml - configuration of v2m-engine(1)")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("$XDG_CONFIG_HOME/v2m-engine/config.toml")]);
    page.control("br", []);
    page.text([italic(SYSTEM_FILE)]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "TOML, one key a line; vad.cpu is the key cpu of the table [vad]. The user's file (~/.config/v2m-engine/config.toml if \
         XDG_CONFIG_HOME is not set) overrides the system's key by key; flags of ",
    )]);
    page.text([bold("v2m-engine run"), roman(" override both.")]);
    page.text([roman(
        "An unknown key or a bad value is an error that names the file, the line and the key. \
         Changes take effect when the engine is restarted.",
    )]);
    page.control("SH", ["KEYS"]);
    for key in keys {
        page.control("TP", []);
        page.text([bold(key.path()), roman(" = "), italic(key.values.as_str())]);
        let default = match &key.default {
            Some(default) => format!("Default: {default}."),
            None => "Not set by default.".into(),
        };
        page.text([
            roman(format!("{}. {default} Flag: ", key.help)),
            bold(key.flag.as_str()),
            roman("."),
        ]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("v2m-engine"),
        roman("(1), "),
        bold("v2m-engine-run"),
        roman("(1)"),
    ]);
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use v2m_engine::config::Config;

    #[test]
    fn the_default_configuration_is_the_default() {
        let text = default_configuration(&keys());
        assert_eq!(Config::parse(&text).unwrap(), Config::parse("").unwrap());
        let uncommented: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.is_empty() && !line.starts_with(' '))
            .collect();
        let unset = keys().iter().filter(|key| key.default.is_none()).count();
        let headers = uncommented.iter().filter(|line| line.starts_with('['));
        let (headers, lines) = (headers.count(), uncommented.len());
        assert_eq!(lines - headers + unset, keys().len());
        let uncommented = uncommented.join("\n");
        assert_eq!(
            Config::parse(&uncommented).unwrap(),
            Config::parse("").unwrap(),
            "{uncommented}"
        );
    }

    #[test]
    fn the_page_has_every_key_and_its_default() {
        let page = configuration_page(&keys());
        for key in keys() {
            assert!(
                page.contains(&key.path()) && !key.help.is_empty(),
                "{}",
                key.name
            );
        }
        assert!(page.contains("Default: 60. Flag:"), "{page}");
    }
}
