//! `v2m-engine mute` and `unmute`: whether anybody hears a microphone.

use v2m_client::mute::Mute;
use v2m_error::Result;

pub(super) fn run(on: bool) -> Result<()> {
    Mute::of_this_user().set(on)?;
    super::print_lines(match on {
        true => "muted: every reader of a microphone gets silence until v2m-engine unmute",
        false => "not muted: microphones are heard again",
    })
}
