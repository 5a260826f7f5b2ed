//! Colours and characters: what a terminal can show decides, and what its user wants.

use ratatui::style::{Color, Modifier, Style};

use crate::monitor::facts::Severity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    color: bool,
    unicode: bool,
}

impl Theme {
    /// With colours or without, with Unicode's drawing characters or ASCII only.
    pub const fn new(color: bool, unicode: bool) -> Self {
        Self { color, unicode }
    }

    /// As the environment has it: no colours where `NO_COLOR` is set to something
    /// (no-color.org), ASCII where the locale is not UTF-8.
    pub fn from_environment() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL")
            .or_else(|| set("LC_CTYPE"))
            .or_else(|| set("LANG"));
        let unicode = locale.is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        });
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { color, unicode }
    }

    /// The same with ASCII only.
    #[must_use]
    pub fn ascii(self) -> Self {
        Self {
            unicode: false,
            ..self
        }
    }

    pub(super) fn is_unicode(self) -> bool {
        self.unicode
    }

    /// One of two texts, by what can be shown.
    pub(super) fn pick<T>(self, unicode: T, ascii: T) -> T {
        if self.unicode { unicode } else { ascii }
    }

    fn style(self, color: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.color { style.fg(color) } else { style }
    }

    /// What is said in passing: rules, labels.
    pub(super) fn quiet(self) -> Style {
        self.style(Color::DarkGray, Modifier::empty())
    }

    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn good(self) -> Style {
        self.style(Color::Green, Modifier::empty())
    }

    pub(super) fn warning(self) -> Style {
        self.style(Color::Yellow, Modifier::BOLD)
    }

    /// Something is lost or broken.
    pub(super) fn bad(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Fine => self.good(),
            Severity::Warning => self.warning(),
            Severity::Bad => self.bad(),
        }
    }

    /// What stands out.
    pub(super) fn standing(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn wave(self) -> Style {
        self.style(Color::Cyan, Modifier::empty())
    }

    /// The waveform where somebody speaks.
    pub(super) fn speech(self) -> Style {
        let style = self.style(Color::LightGreen, Modifier::BOLD);
        // A dark green of the 256: terminals with fewer take the nearest they have.
        if self.color {
            style.bg(Color::Indexed(22))
        } else {
            style
        }
    }

    /// The waveform where audio was lost.
    pub(super) fn gap(self) -> Style {
        self.style(Color::Red, Modifier::empty())
    }

    /// What fills the empty part of a column where somebody speaks. With colours
    /// the background says it.
    pub(super) fn speech_fill(self) -> char {
        match (self.color, self.unicode) {
            (true, _) => ' ',
            (false, true) => '·',
            (false, false) => '.',
        }
    }

    /// The same where audio was lost.
    pub(super) fn gap_fill(self) -> char {
        self.pick('▒', '%')
    }

    /// A piece of a horizontal bar, an eighth to eight eighths of a cell.
    pub(super) fn across(self, eighths: usize) -> char {
        const PARTS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
        match self.unicode {
            true => PARTS[eighths.min(8)],
            false => {
                if eighths >= 4 {
                    '#'
                } else {
                    ' '
                }
            }
        }
    }

    /// A piece of an upright bar.
    pub(super) fn upright(self, eighths: usize) -> char {
        const PARTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        match self.unicode {
            true => PARTS[eighths.min(8)],
            false => {
                if eighths >= 4 {
                    '#'
                } else {
                    ' '
                }
            }
        }
    }

    /// A share of one in a single character.
    pub(super) fn share(self, share: f32) -> char {
        match self.unicode {
            true => self.upright(1 + (share.clamp(0.0, 1.0) * 7.0).round() as usize),
            false => char::from(b'0' + (share.clamp(0.0, 1.0) * 9.0).round() as u8),
        }
    }
}
