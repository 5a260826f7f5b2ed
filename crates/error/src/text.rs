//! Text from elsewhere, made fit to be shown: names of devices and programs, paths,
//! other processes' words. Done once, where it comes in, so that nothing behind has
//! to think of it.

/// The most characters that a name keeps.
pub const NAME: usize = 256;
/// The most characters that a message keeps.
pub const MESSAGE: usize = 4096;

/// Stands where a character can't be shown.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A name as it may be shown, see [`printable`].
pub fn name(text: &str) -> String {
    printable(text, NAME)
}

/// The text on one line, of at most `longest` characters, without any that moves a
/// terminal's cursor, turns the direction of writing, has no width, or means nothing.
/// White space becomes a space, each of the others [`REPLACEMENT`]. Text that is
/// printable already stays as it is, and so does what comes out of here.
pub fn printable(text: &str, longest: usize) -> String {
    let mut characters = text.chars().map(|character| match character {
        character if character.is_whitespace() => ' ',
        character if is_printable(character) => character,
        _ => REPLACEMENT,
    });
    let mut shown: String = characters.by_ref().take(longest).collect();
    if characters.next().is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// So many of a thing whose plural takes an s: `1 client`, `2 clients`.
pub fn counted(count: impl Into<u128>, thing: &str) -> String {
    match count.into() {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// Whether a character takes a place of its own on a line, or belongs on the letter
/// before it. Unicode's categories "other" and "separator" don't, but for the space.
fn is_printable(character: char) -> bool {
    if character == ' ' || character.is_ascii_graphic() {
        return true;
    }
    // The standard library's table of what can be shown. Behind a letter, since marks
    // that belong on one are escaped without it.
    let mut letter = [b'a'; 5];
    let length = character.encode_utf8(&mut letter[1..]).len();
    let text = std::str::from_utf8(&letter[..=length]).unwrap_or_default();
    !text.is_empty() && text.escape_debug().eq(text.chars())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_stays() {
        for text in [
            "",
            "alsa_input.usb-0d8c_C-Media-00.mono-fallback",
            "Mikrofon \"vorne\" (Küche)",
            "e\u{301}tude \u{0939}\u{093f}\u{0928}\u{094d}\u{0926}\u{0940} 麦克风 🎤 שלום",
            "C:\\'path'",
        ] {
            assert_eq!(name(text), text);
        }
    }

    #[test]
    fn what_moves_the_cursor_or_hides_does_not() {
        for (text, shown) in [
            ("\x1b[2Jmic", "\u{fffd}[2Jmic"),
            ("\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}"),
            ("a\r\nb\tc\u{2028}d\u{a0}e", "a  b c d e"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("abc\u{202e}gpj", "abc\u{fffd}gpj"),
            ("mi\u{200b}c\u{feff}", "mi\u{fffd}c\u{fffd}"),
            (
                "\u{0}\u{7f}\u{e000}\u{e0041}",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
        ] {
            assert_eq!(name(text), shown, "{text:?}");
        }
    }

    #[test]
    fn one_is_no_plural() {
        let said = [0_u64, 1, 2].map(|count| counted(count, "client"));
        assert_eq!(said, ["0 clients", "1 client", "2 clients"]);
    }

    #[test]
    fn long_texts_are_cut() {
        let cut = name(&"é".repeat(1000));
        assert_eq!(cut.chars().count(), NAME);
        assert!(cut.ends_with("é…"));
        assert_eq!(name(&"é".repeat(NAME)), "é".repeat(NAME));
    }

    proptest! {
        #[test]
        fn nothing_odd_is_left(text in proptest::collection::vec(any::<char>(), 0..400)) {
            let text = String::from_iter(text);
            let shown = name(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= NAME);
            prop_assert_eq!(name(&shown), shown);
        }

        #[test]
        fn every_character_is_one_or_the_other(character: char) {
            let shown = name(&character.to_string());
            prop_assert_eq!(shown.chars().count(), 1);
            let odd = |shown: char| {
                let hidden = ['\u{61c}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}'];
                shown.is_control() || hidden.contains(&shown)
            };
            prop_assert!(!shown.chars().any(odd));
        }
    }
}
