//! Which channel is heard: the one with speech, and it stays so. Pure: window after
//! window it is told what each channel was like.
//!
//! One channel is heard, and with it those that are the same to within what can't be
//! heard, by their mean. So nothing dilutes it, cancels it or combs it.

use super::{MAX_CHANNELS, Weights};

/// What one window of one channel was like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measure {
    /// Mean square of the differences of its samples, full scale 1.
    pub power: f32,
    /// Correlation with the heard channel over the last seconds: 1 is the same at any
    /// level, -1 the same upside down.
    pub likeness: f32,
    /// Power in relation to the heard channel's over the last seconds.
    pub gain: f32,
    /// Power of the difference to the heard channel in relation to the heard channel's.
    pub deviation: f32,
    /// The probability of speech; `None` where nobody listened for it.
    pub speech: Option<f32>,
}

/// Below this a channel is dead: two steps of a 16-bit converter are above it.
pub(super) const ALIVE: f32 = 1e-9;
/// Something that is worth a decision: above the noise of most microphones.
const SOUND: f32 = 2.5e-7;
/// Without any such, what is alive for so many windows (1 s) is decided upon.
const PATIENCE: u32 = 32;

/// Windows between two changes: 2 s.
pub(super) const STAY: u32 = 63;
/// A first decision is completed within so many: which channels are the same.
const AT_ONCE: u32 = 8;

/// A probability above is speech.
const SPEECH: f32 = 0.5;
/// Of this many windows (160 ms), this many with speech: somebody speaks.
const SPOKEN: (u32, u32) = (5, 4);
/// A channel that had speech is left only when of this many windows (256 ms) at most one
/// had any.
const PAUSE: u32 = 8;
/// A heard channel is given up when it was dead for so many windows (2 s).
const DEAD: u32 = 63;

/// The same at another level, either way up.
pub(super) const ALIKE: f32 = 0.9;
/// Louder by this (1.5 dB) in so many windows, what is alike is taken instead.
const LOUDER: (f32, u32) = (1.41, 16);
/// One voice in two microphones: louder by this (6 dB) in so many windows of speech,
/// while the levels go up and down together.
const NEARER: (f32, u32) = (6.0, 32);
const TOGETHER: f32 = 0.6;

/// The same: equal within 0.2 dB, and a delay of less than a sample. Joins below the
/// first, leaves above the second.
const SAME: (f32, f32) = (5e-4, 2e-3);

/// What is remembered of one channel.
#[derive(Clone, Copy, Debug, Default)]
struct History {
    /// Windows with speech, the newest is bit 0.
    speech: u32,
    /// Windows in a row without a sign of life.
    dead: u32,
    /// Windows in a row in which it was alike and louder.
    louder: u32,
    /// Since the last change, beside the heard channel.
    beside: Beside,
}

/// Levels of a channel and of the heard one while both have speech, in dB.
#[derive(Clone, Copy, Debug, Default)]
struct Beside {
    windows: u32,
    mean: [f32; 2],
    square: [f32; 2],
    product: f32,
}

impl Beside {
    fn add(&mut self, own: f32, heard: f32) {
        let levels = [own, heard].map(|power| 10.0 * power.max(1e-12).log10());
        self.windows += 1;
        let weight = (1.0 / self.windows as f32).max(1.0 / 64.0);
        let [own, heard] = [levels[0] - self.mean[0], levels[1] - self.mean[1]];
        self.mean[0] += weight * own;
        self.mean[1] += weight * heard;
        let keep = 1.0 - weight;
        self.square[0] = keep * (self.square[0] + weight * own * own);
        self.square[1] = keep * (self.square[1] + weight * heard * heard);
        self.product = keep * (self.product + weight * own * heard);
    }

    /// The same voice, nearer.
    fn is_nearer(&self) -> bool {
        let (louder, windows) = NEARER;
        let together = self.product / (self.square[0] * self.square[1]).sqrt().max(1e-6);
        self.windows >= windows && self.mean[0] - self.mean[1] >= louder && together >= TOGETHER
    }
}

/// Decides, window after window.
#[derive(Clone, Debug)]
pub struct ChannelChoice {
    channels: Vec<History>,
    heard: Option<usize>,
    /// Channels that are the same as the heard one, by bits.
    same: u64,
    /// Windows since the first decision.
    age: u32,
    /// Windows since what is heard last changed.
    stayed: u32,
    /// The heard channel has had speech since it is heard.
    spoke: bool,
    /// Windows of life before the first decision.
    waited: u32,
}

impl ChannelChoice {
    /// Nothing is decided yet.
    pub fn new(channels: usize) -> Self {
        Self {
            channels: vec![History::default(); channels.min(MAX_CHANNELS)],
            heard: None,
            same: 0,
            age: 0,
            // What was begun with is no decision to stay with.
            stayed: STAY,
            spoke: false,
            waited: 0,
        }
    }

    /// The channel that is heard; `None` before the first decision.
    pub fn heard(&self) -> Option<usize> {
        self.heard
    }

    /// What each channel counts for; `None` before the first decision.
    pub fn weights(&self) -> Option<Weights> {
        let heard = self.heard?;
        let mut weights = [0.0; MAX_CHANNELS];
        let share = 1.0 / (1 + self.same.count_ones()) as f32;
        weights[heard] = share;
        for channel in bits(self.same) {
            weights[channel] = share;
        }
        Some(weights)
    }

    /// Whether speech has to be looked for: more than one channel is alive, and not all
    /// of them are alike.
    pub fn needs_speech(&self, window: &[Measure]) -> bool {
        let Some(heard) = self.heard else {
            return window.iter().filter(|m| m.power > ALIVE).count() > 1;
        };
        let mut others = self.channels.iter().zip(window).enumerate();
        others.any(|(channel, (history, measure))| {
            channel != heard && history.dead < DEAD && measure.likeness.abs() < ALIKE
        })
    }

    /// Takes the next window of every channel; whether what is heard changes by it.
    pub fn window(&mut self, window: &[Measure]) -> bool {
        self.remember(window);
        let Some(heard) = self.heard else {
            return self.begin(window);
        };
        self.age = self.age.saturating_add(1);
        self.stayed = self.stayed.saturating_add(1);
        self.spoke |= speaks(&self.channels[heard]);
        if self.stayed >= STAY
            && let Some(channel) = self.better(heard, window)
        {
            self.take(channel);
            self.stayed = 0;
            return true;
        }
        self.compare(window)
    }

    fn remember(&mut self, window: &[Measure]) {
        let heard = self.heard.and_then(|heard| window.get(heard).copied());
        let heard = heard.unwrap_or_default();
        for (history, measure) in self.channels.iter_mut().zip(window) {
            let speech = |m: &Measure| m.speech.is_some_and(|p| p > SPEECH);
            history.speech = history.speech << 1 | u32::from(speech(measure));
            history.dead = match measure.power > ALIVE {
                true => 0,
                false => history.dead.saturating_add(1),
            };
            let alike = measure.likeness.abs() >= ALIKE && measure.gain >= LOUDER.0;
            history.louder = match alike && measure.power > ALIVE {
                true => history.louder.saturating_add(1),
                false => 0,
            };
            if self.heard.is_some() && speech(measure) && speech(&heard) {
                history.beside.add(measure.power, heard.power);
            }
        }
    }

    /// The loudest, as soon as there is something to hear.
    fn begin(&mut self, window: &[Measure]) -> bool {
        let loudest = loudest(window.iter().map(|m| m.power).enumerate());
        let Some((channel, power)) = loudest.filter(|(_, power)| *power > ALIVE) else {
            return false;
        };
        self.waited += 1;
        if power > SOUND || self.waited >= PATIENCE {
            self.take(channel);
            return true;
        }
        false
    }

    fn take(&mut self, channel: usize) {
        self.heard = Some(channel);
        self.same = 0;
        self.spoke = speaks(&self.channels[channel]);
        for history in &mut self.channels {
            (history.louder, history.beside) = (0, Beside::default());
        }
    }

    /// One that should be heard instead.
    fn better(&self, heard: usize, window: &[Measure]) -> Option<usize> {
        let own = &self.channels[heard];
        let others = || {
            let all = self.channels.iter().zip(window).enumerate();
            all.filter(move |(channel, (_, measure))| *channel != heard && measure.power > ALIVE)
        };
        let quiet = match self.spoke {
            true => (own.speech & ((1 << PAUSE) - 1)).count_ones() <= 1,
            false => (own.speech & ((1 << SPOKEN.0) - 1)).count_ones() <= 1,
        };
        let found = |wanted: &dyn Fn(&History, &Measure) -> bool| {
            let fit = others().filter(|(_, (history, measure))| wanted(history, measure));
            loudest(fit.map(|(channel, (_, measure))| (channel, measure.power)))
                .map(|(channel, _)| channel)
        };
        let speech = || found(&|history, _| speaks(history));
        let louder = || found(&|history, _| history.louder >= LOUDER.1);
        let nearer = || found(&|history, _| history.beside.is_nearer());
        let alive = || found(&|_, _| true);
        let speech = if quiet { speech() } else { None };
        let found = speech.or_else(louder).or_else(nearer);
        found.or_else(|| if own.dead >= DEAD { alive() } else { None })
    }

    /// Which channels are the same as the heard one.
    fn compare(&mut self, window: &[Measure]) -> bool {
        let at_once = self.age <= AT_ONCE;
        if !at_once && self.stayed < STAY {
            return false;
        }
        let mut same = 0u64;
        for (channel, measure) in window.iter().enumerate().take(self.channels.len()) {
            let was = self.same >> channel & 1 == 1;
            let limit = if was { SAME.1 } else { SAME.0 };
            let dead = self.channels[channel].dead >= DEAD;
            if Some(channel) != self.heard && !dead && measure.deviation < limit {
                same |= 1 << channel;
            }
        }
        if same == self.same {
            return false;
        }
        self.same = same;
        if !at_once {
            self.stayed = 0;
        }
        true
    }
}

fn speaks(history: &History) -> bool {
    let (windows, spoken) = SPOKEN;
    (history.speech & ((1 << windows) - 1)).count_ones() >= spoken
}

/// The first of the loudest.
fn loudest(powers: impl Iterator<Item = (usize, f32)>) -> Option<(usize, f32)> {
    powers.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn bits(mask: u64) -> impl Iterator<Item = usize> {
    (0..64).filter(move |bit| mask >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quiet() -> Measure {
        Measure {
            power: 1e-7,
            deviation: 2.0,
            speech: Some(0.1),
            ..Measure::default()
        }
    }

    fn voice() -> Measure {
        Measure {
            power: 1e-4,
            speech: Some(0.9),
            ..quiet()
        }
    }

    /// `count` windows; at which of them what is heard changed.
    fn feed(choice: &mut ChannelChoice, window: &[Measure], count: u32) -> Vec<u32> {
        (0..count).filter(|_| choice.window(window)).collect()
    }

    #[test]
    fn silence_decides_nothing_and_the_first_sound_does() {
        let mut choice = ChannelChoice::new(3);
        assert!(feed(&mut choice, &[Measure::default(); 3], 200).is_empty());
        assert_eq!(choice.weights(), None);
        assert_eq!(feed(&mut choice, &[quiet(), voice(), quiet()], 1), [0]);
        assert_eq!(choice.heard(), Some(1));
        let mut patient = ChannelChoice::new(2);
        let noise = Measure {
            power: 2e-7,
            ..quiet()
        };
        assert_eq!(feed(&mut patient, &[quiet(), noise], 40), [PATIENCE - 1]);
        assert_eq!(patient.heard(), Some(1));
    }

    #[test]
    fn speech_elsewhere_is_taken_within_a_fifth_of_a_second_and_then_stays() {
        let mut choice = ChannelChoice::new(2);
        let music = Measure {
            power: 1e-2,
            ..quiet()
        };
        feed(&mut choice, &[music, quiet()], 100);
        assert_eq!(choice.heard(), Some(0));
        assert_eq!(feed(&mut choice, &[music, voice()], 10), [3]);
        assert_eq!(choice.heard(), Some(1));
        // Not for the music, not in pauses, not for a second voice beside the first.
        assert!(feed(&mut choice, &[music, quiet()], 500).is_empty());
        let louder = Measure {
            power: 1e-2,
            ..voice()
        };
        // (The two levels don't go up and down together.)
        for n in 0..500 {
            let own = Measure {
                power: if n % 7 < 3 { 1e-4 } else { 1e-5 },
                ..voice()
            };
            let other = Measure {
                power: if n % 5 < 2 { 1e-2 } else { 1e-3 },
                ..louder
            };
            assert!(!choice.window(&[other, own]), "{n}");
        }
    }

    #[test]
    fn the_nearer_of_two_microphones_is_found() {
        let mut choice = ChannelChoice::new(2);
        choice.window(&[
            quiet(),
            Measure {
                power: 1e-6,
                ..quiet()
            },
        ]);
        assert_eq!(choice.heard(), Some(1));
        let mut changes = 0;
        for n in 0..100u32 {
            let power = if n % 9 < 4 { 1e-3 } else { 1e-5 };
            let near = Measure { power, ..voice() };
            let far = Measure {
                power: power / 20.0,
                ..voice()
            };
            changes += u32::from(choice.window(&[near, far]));
        }
        assert_eq!((choice.heard(), changes), (Some(0), 1));
    }

    #[test]
    fn what_is_alike_shares_and_what_is_louder_leads() {
        let mut choice = ChannelChoice::new(4);
        let same = Measure {
            likeness: 1.0,
            gain: 1.0,
            deviation: 0.0,
            ..voice()
        };
        let inverted = Measure {
            likeness: -1.0,
            deviation: 4.0,
            ..same
        };
        let dead = Measure {
            deviation: 1.0,
            ..Measure::default()
        };
        let window = [same, inverted, same, dead];
        assert_eq!(feed(&mut choice, &window, 300), [0, 1]);
        assert_eq!(choice.weights().unwrap()[..4], [0.5, 0.0, 0.5, 0.0]);
        let louder = Measure {
            gain: 2.0,
            power: 2e-4,
            ..inverted
        };
        assert_eq!(feed(&mut choice, &[same, louder, same, dead], 60), [15]);
        assert_eq!(choice.heard(), Some(1));
    }

    #[test]
    fn a_mute_of_a_moment_is_no_reason_and_a_dead_channel_is() {
        let mut choice = ChannelChoice::new(2);
        feed(&mut choice, &[voice(), quiet()], 50);
        let mute = Measure::default();
        assert!(feed(&mut choice, &[mute, quiet()], DEAD - 1).is_empty());
        feed(&mut choice, &[voice(), quiet()], 1);
        assert_eq!(feed(&mut choice, &[mute, quiet()], 100), [DEAD - 1]);
        assert_eq!(choice.heard(), Some(1));
    }

    fn measure() -> impl Strategy<Value = Measure> {
        (
            prop_oneof![Just(0.0f32), 1e-12f32..1.0],
            -1.0f32..=1.0,
            0.0f32..4.0,
            prop_oneof![Just(0.0f32), 0.0f32..2.0],
            prop::option::of(0.0f32..=1.0),
        )
            .prop_map(|(power, likeness, gain, deviation, speech)| Measure {
                power,
                likeness,
                gain,
                deviation,
                speech,
            })
    }

    proptest! {
        /// Whatever is measured: the weights sum up to one, none is negative, and after
        /// the beginning what is heard changes at most once in two seconds.
        #[test]
        fn it_is_one_voice_at_its_own_level_and_stays(
            windows in (1usize..19).prop_flat_map(|channels| {
                prop::collection::vec((prop::collection::vec(measure(), channels), 1u32..40), 1..20)
            }),
        ) {
            let mut choice = ChannelChoice::new(windows[0].0.len());
            let (mut at, mut first, mut last) = (0u32, None, None);
            for (window, count) in windows {
                for _ in 0..count {
                    at += 1;
                    let changed = choice.window(&window);
                    prop_assert_eq!(choice.weights().is_some(), choice.heard().is_some());
                    if changed {
                        let weights = choice.weights().unwrap();
                        prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                        prop_assert!(weights.iter().all(|w| *w >= 0.0));
                        let begun = *first.get_or_insert(at);
                        if at > begun + AT_ONCE {
                            prop_assert!(last.is_none_or(|last| at - last >= STAY));
                            last = Some(at);
                        }
                    }
                }
            }
        }
    }
}
