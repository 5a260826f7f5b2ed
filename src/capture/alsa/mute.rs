//! Whether the mixer of the captured card lets anything through: its capture switches and
//! volumes.
//!
//! On a thread of its own, as a card may take long to answer, once a second. The mixer is
//! opened anew each time: not every driver tells who has it open of what changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alsa::mixer::{MilliBel, Mixer, Selem, SelemChannelId};
use alsa::poll::poll;

use super::{Setup, Stop, quiet};
use v2m_dsp::health::Mute;
use v2m_error::{Result, text};
use v2m_rt::bounded::{Bounded, Calls};

/// Between two looks, in milliseconds.
const PAUSE: i32 = 1000;
/// A volume that leaves nothing to hear. alsa-lib's number for "nothing at all" is below.
const INAUDIBLE: MilliBel = MilliBel(-8000);

/// Looks after the mixer of the card that is captured.
pub struct MuteWatch {
    watched: Arc<Watched>,
    thread: Bounded,
}

struct Watched {
    /// What is captured; `None` while nothing is.
    setup: Arc<Mutex<Option<Setup>>>,
    /// The card's number, and what is wrong with it.
    found: Mutex<Option<(i32, Mute)>>,
    stop: Stop,
}

impl MuteWatch {
    /// Follows the card of this setup, which is `None` while nothing is captured.
    ///
    /// # Errors
    /// [`v2m_error::ErrorKind::System`] if there can be no more threads or descriptors.
    pub fn start(setup: Arc<Mutex<Option<Setup>>>) -> Result<Self> {
        let watched = Arc::new(Watched {
            setup,
            found: Mutex::default(),
            stop: Stop::new()?,
        });
        let watches = watched.clone();
        let thread = Bounded::spawn("v2m-mixer", move |calls| watches.watch(calls))?;
        Ok(Self { watched, thread })
    }

    /// The switch that is off, if it keeps everything from being heard.
    pub fn mute(&self) -> Option<Mute> {
        let card = self.watched.card()?;
        let found = lock(&self.watched.found).clone();
        // What was found of another card says nothing.
        found.filter(|(of, _)| *of == card).map(|(_, mute)| mute)
    }

    /// What it is calling, if that takes long.
    pub fn hanging(&self) -> Option<String> {
        self.thread.hanging()
    }

    /// Ends; a call that hangs is not waited for.
    pub fn stop(&mut self) {
        self.watched.stop.end();
        self.thread.join();
    }
}

impl Drop for MuteWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Watched {
    fn watch(&self, calls: &Calls) {
        quiet();
        while !self.stop.is_ended() {
            let found = self.card().and_then(|card| {
                let looking = format!("looking into the mixer of card {card}");
                let inputs = calls.during(looking, || inputs(card));
                mute(card, &inputs.ok()?).map(|mute| (card, mute))
            });
            *lock(&self.found) = found;
            let _ = poll(&mut [self.stop.pollfd()], PAUSE);
        }
    }

    /// The card that is captured.
    fn card(&self) -> Option<i32> {
        lock(&self.setup).as_ref()?.card
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An element of a mixer that can keep everything from being heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Input {
    name: String,
    /// Several elements may have one name.
    index: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Something comes through in one of its channels.
    On,
    /// Its switch is off.
    Off,
    /// Its volume is [`INAUDIBLE`].
    Zero,
}

impl Input {
    fn state_of(switch: Option<bool>, inaudible: bool) -> State {
        match (switch, inaudible) {
            (Some(false), _) => State::Off,
            (_, true) => State::Zero,
            (_, false) => State::On,
        }
    }

    /// The command that lets it be heard.
    fn remedy(&self, card: i32) -> String {
        let name = match self.index {
            0 => self.name.clone(),
            index => format!("{},{index}", self.name),
        };
        let name = quoted(&name);
        match self.state {
            State::Zero => format!("amixer -c {card} sset {name} capture 0dB cap"),
            _ => format!("amixer -c {card} sset {name} cap"),
        }
    }
}

/// Those elements of a card; an error if one of them can't be read, which may be the one that is on.
fn inputs(card: i32) -> alsa::Result<Vec<Input>> {
    let mixer = Mixer::new(&format!("hw:{card}"), true)?;
    let elements = mixer.iter().filter_map(Selem::new);
    elements
        .filter_map(|element| input(&element).transpose())
        .collect()
}

/// `None` for an element that always lets something through.
fn input(element: &Selem<'_>) -> alsa::Result<Option<Input>> {
    let has_switch = element.has_capture_switch();
    let has_zero = element.has_capture_volume() && element.get_capture_db_range().0 <= INAUDIBLE;
    if !has_switch && !has_zero {
        return Ok(None);
    }
    let mut state = None;
    let all = SelemChannelId::all().iter().copied();
    for channel in all.filter(|&channel| element.has_capture_channel(channel)) {
        let switch = match has_switch {
            true => Some(element.get_capture_switch(channel)? != 0),
            false => None,
        };
        let inaudible = has_zero && element.get_capture_vol_db(channel)? <= INAUDIBLE;
        match Input::state_of(switch, inaudible) {
            State::On => state = Some(State::On),
            closed => state = state.or(Some(closed)),
        }
    }
    let id = element.get_id();
    let name = text::name(id.get_name()?);
    Ok(state.map(|state| Input {
        name,
        index: id.get_index(),
        state,
    }))
}

/// Nothing is heard of a card if all of its inputs are closed: which of them is the one that
/// is captured, a mixer doesn't say.
fn mute(card: i32, inputs: &[Input]) -> Option<Mute> {
    if inputs.iter().any(|input| input.state == State::On) {
        return None;
    }
    let named = |name: &str| inputs.iter().find(|input| input.name.contains(name));
    let best = named("Capture")
        .or_else(|| named("Mic"))
        .or(inputs.first())?;
    let text = match (inputs.len(), best.state) {
        (1, State::Zero) => format!("the capture volume {} of card {card} is zero", best.name),
        (1, _) => format!("the capture switch {} of card {card} is off", best.name),
        _ => {
            let names: Vec<&str> = inputs.iter().map(|input| &*input.name).collect();
            format!(
                "all inputs of card {card} are off in its mixer ({})",
                names.join(", ")
            )
        }
    };
    Some(Mute {
        text: format!("{text}: nothing is heard"),
        remedy: best.remedy(card),
    })
}

/// As a shell reads it: a device makes up its own names.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-,".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(name: &str, state: State) -> Input {
        Input {
            name: name.into(),
            index: 0,
            state,
        }
    }

    fn said(inputs: &[Input]) -> (String, String) {
        let mute = mute(1, inputs).unwrap();
        (mute.text, mute.remedy)
    }

    #[test]
    fn the_switch_that_is_off_is_named_with_the_command_for_it() {
        assert_eq!(
            said(&[element("Capture", State::Off)]),
            (
                "the capture switch Capture of card 1 is off: nothing is heard".into(),
                "amixer -c 1 sset Capture cap".into()
            )
        );
        assert_eq!(
            said(&[element("Mic", State::Zero)]),
            (
                "the capture volume Mic of card 1 is zero: nothing is heard".into(),
                "amixer -c 1 sset Mic capture 0dB cap".into()
            )
        );
        let second = Input {
            index: 1,
            ..element("Front Mic", State::Off)
        };
        assert_eq!(
            said(&[element("Line", State::Off), second]),
            (
                "all inputs of card 1 are off in its mixer (Line, Front Mic): nothing is heard"
                    .into(),
                "amixer -c 1 sset 'Front Mic,1' cap".into()
            )
        );
        let both = [element("Mic", State::Off), element("Capture", State::Off)];
        assert_eq!(said(&both).1, "amixer -c 1 sset Capture cap");
        assert_eq!(mute(1, &[]), None, "a card without switches");
    }

    #[test]
    fn a_switch_that_is_off_outweighs_its_volume() {
        assert_eq!(Input::state_of(Some(false), true), State::Off);
        assert_eq!(Input::state_of(Some(true), true), State::Zero);
        assert_eq!(Input::state_of(Some(true), false), State::On);
        assert_eq!(Input::state_of(None, true), State::Zero);
        assert_eq!(Input::state_of(None, false), State::On);
    }

    proptest! {
        #[test]
        fn one_input_that_is_on_is_enough(
            states in prop::collection::vec(
                prop::sample::select(&[State::On, State::Off, State::Zero][..]), 1..6
            )
        ) {
            let inputs: Vec<Input> = (0..)
                .zip(&states)
                .map(|(n, &state)| element(&format!("Input {n}"), state))
                .collect();
            let on = states.contains(&State::On);
            prop_assert_eq!(mute(0, &inputs).is_none(), on);
        }

        #[test]
        fn a_shell_reads_a_name_as_it_is(name in "[ -~]{1,12}") {
            let script = format!("printf %s {}", quoted(&name));
            let shell = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            prop_assert_eq!(String::from_utf8(shell.stdout).unwrap(), name);
        }
    }
}
