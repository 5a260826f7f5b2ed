//! The text that names who reads, for the desktop and the service manager.

use super::server::Listener;

/// So many programs are named; the others are counted.
const NAMED: usize = 4;

/// The programs of these listeners in the order in which they came, each once; empty for nobody.
pub(super) fn names<'a>(listeners: impl Iterator<Item = &'a Listener>) -> String {
    let mut programs: Vec<(&str, usize)> = Vec::new();
    for listener in listeners {
        match programs.iter_mut().find(|(name, _)| *name == listener.name) {
            Some((_, streams)) => *streams += 1,
            None => programs.push((&listener.name, 1)),
        }
    }
    let named = programs
        .iter()
        .take(NAMED)
        .map(|(name, streams)| match streams {
            1 => (*name).to_owned(),
            streams => format!("{name} ({streams})"),
        });
    let mut text = named.collect::<Vec<_>>().join(", ");
    if let more @ 1.. = programs.len().saturating_sub(NAMED) {
        text += &format!(" and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(listeners: &[&str]) -> String {
        let listeners: Vec<Listener> = listeners
            .iter()
            .map(|name| Listener {
                stream: 0,
                observes: false,
                together: false,
                quantum: None,
                name: (*name).to_owned(),
            })
            .collect();
        names(listeners.iter())
    }

    #[test]
    fn each_program_is_named_once_and_no_text_grows_without_end() {
        assert_eq!(named(&[]), "");
        assert_eq!(named(&["python3 live.py"]), "python3 live.py");
        assert_eq!(named(&["b", "a", "b"]), "b (2), a");
        assert_eq!(named(&["a", "b", "c", "d"]), "a, b, c, d");
        assert_eq!(
            named(&["a", "b", "c", "d", "e", "f", "e"]),
            "a, b, c, d and 2 more"
        );
    }
}
