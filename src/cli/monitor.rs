//! `v2m-engine monitor`: microphone, speech and timing at a glance.

use crate::monitor::{self, Theme};
use v2m_error::Result;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Watch for two seconds, print what was seen as text, and exit
    #[arg(long)]
    once: bool,

    /// Draw with ASCII only, as it does by itself where the locale is not UTF-8
    #[arg(long, conflicts_with = "once")]
    ascii: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.once {
        let (status, seen) = monitor::once()?;
        let text = super::status::text(&status) + &seen;
        return super::print_lines(text.trim_end());
    }
    let theme = Theme::from_environment();
    monitor::run(if arguments.ascii {
        theme.ascii()
    } else {
        theme
    })
}
