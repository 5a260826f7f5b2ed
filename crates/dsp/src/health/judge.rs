//! When figures are wrong: thresholds, and how long they have to be passed.
//!
//! Each has two: one where a finding begins and a weaker one where it ends, so that what
//! lies in between doesn't flicker. Numbers and reasons: `docs/health.md`.

use super::amplitude::Amplitudes;
use super::measure::{FigureHistory, Figures, HighPass, MEMORY, NOTHING_DB, percentile_of};
use super::{Channel, Facts, Finding, Kind, Moment, Mute, WINDOW};

/// Audio without anything but even noise before that is a finding, in windows: ten seconds.
/// Nobody speaks all the time.
pub const PATIENCE: usize = MEMORY;

/// Windows from one look at all figures to the next: a quarter of a second.
const LOOK: usize = 8;
/// Uncaptured audio after which what was heard before counts no more: two seconds.
const FORGET: u64 = 63;

/// The same value for so long is silence: three seconds. Pauses in speech are shorter,
/// and programs that suppress noise give zeros in them.
const SILENCE: usize = 94;
/// It ends when so many of the last second's windows hold something else.
const SILENCE_BROKEN: usize = 4;
const SILENCE_BROKEN_IN: usize = 31;
/// Zeros, but for what a converter adds to them.
const ZERO: f32 = 1e-4;

/// Even noise: the loudest window is so little above the quietest ones.
const EVEN: Limit = Limit {
    begins: 6.0,
    ends: 8.0,
};
/// Faint noise, dBFS.
const FAINT: Limit = Limit {
    begins: -40.0,
    ends: -37.0,
};

/// The level of speech that is too quiet, dBFS over windows with speech.
const QUIET_SPEECH: Limit = Limit {
    begins: -70.0,
    ends: -67.0,
};
/// Without speech that the detector found: the level that nothing but a third of a second
/// in ten is above.
const QUIET: Limit = Limit {
    begins: -66.0,
    ends: -63.0,
};
/// Windows of speech that have a level: one second.
const SPEECH: usize = 31;
/// Windows that may be louder than [`QUIET`].
const LOUDEST: usize = 10;
/// The probability from which on a window is speech.
const THRESHOLD: f32 = 0.5;

/// How much steeper a pile of samples is than a wave's summit, see [`Amplitudes`].
const STEEP: Limit = Limit {
    begins: 3.3,
    ends: 2.5,
};
/// Runs of samples at full scale in the last five seconds.
const FLAT_RUNS: Limit = Limit {
    begins: 8.0,
    ends: 3.0,
};
const FLAT_WINDOWS: usize = 156;
/// Looks that clipping outlasts what shows it: five seconds. It comes and goes with what
/// is said.
const CLIPPING_LINGERS: usize = 20;

/// Amplitudes are counted anew when DC has moved by so much: else its pauses would be a pile.
const CENTER: f32 = 0.004;

/// DC, of full scale.
const DC: Limit = Limit {
    begins: 0.015,
    ends: 0.01,
};
/// Windows whose means' median is DC: three seconds. A thump is not.
const DC_WINDOWS: usize = 94;

/// No audio is louder: what isn't a usable number counts as zero.
const LARGEST: f32 = 1e3;

/// Where something begins to be wrong, and where it ends to be.
#[derive(Clone, Copy)]
struct Limit {
    begins: f32,
    ends: f32,
}

impl Limit {
    fn of(self, was: bool) -> f32 {
        if was { self.ends } else { self.begins }
    }
}

/// Hears a source and says what is wrong with it.
#[derive(Debug)]
pub struct Judge {
    /// See [`PATIENCE`].
    patience: usize,
    high_pass: HighPass,
    memory: FigureHistory,
    amplitudes: Amplitudes,
    /// DC as of the last look: what amplitudes are counted from.
    center: f32,
    /// Windows until the next look.
    until_look: usize,
    /// Uncaptured windows in a row.
    missing: u64,
    open: Vec<OpenFinding>,
}

/// A finding that goes on.
#[derive(Debug)]
struct OpenFinding {
    finding: Finding,
    /// Looks in a row that didn't show it.
    missed: usize,
}

impl Judge {
    /// Has heard nothing. `patience`: how many windows of even noise are a finding,
    /// [`PATIENCE`] at most.
    pub fn new(patience: usize) -> Self {
        Self {
            patience: patience.min(PATIENCE),
            high_pass: HighPass::default(),
            memory: FigureHistory::new(),
            amplitudes: Amplitudes::new(),
            center: 0.0,
            until_look: LOOK,
            missing: 0,
            open: Vec::new(),
        }
    }

    /// Hears a window, whose first sample is of `moment`. `probability`: that of speech, if
    /// somebody looks for it.
    pub fn window(&mut self, samples: &[f32; WINDOW], probability: Option<f32>, moment: Moment) {
        let samples = samples.map(|sample| if sample.abs() <= LARGEST { sample } else { 0.0 });
        let speech = probability.is_some_and(|probability| probability >= THRESHOLD);
        let figures = Figures::of(&samples, speech, moment, &mut self.high_pass);
        self.missing = 0;
        self.amplitudes.add(&samples, self.center);
        self.memory.push(figures);
        self.until_look -= 1;
        if self.until_look == 0 {
            self.until_look = LOOK;
            self.look();
        }
    }

    /// How many windows it goes by: those that it heard, ten seconds at most, and not before so much
    /// was missing that they count no more.
    pub fn remembered(&self) -> usize {
        self.memory.all().count()
    }

    /// `windows` follow that were not captured: they say nothing of the source.
    pub fn gap(&mut self, windows: u64) {
        self.missing = self.missing.saturating_add(windows);
        if self.missing > FORGET {
            self.forget_sound();
            self.open.retain(|open| !open.finding.kind.is_heard());
        }
    }

    /// Another source, or the same after a while in which it was not captured.
    pub fn forget(&mut self) {
        self.forget_sound();
        self.open.clear();
    }

    fn forget_sound(&mut self) {
        self.high_pass = HighPass::default();
        self.memory.clear();
        self.amplitudes.clear();
        self.center = 0.0;
        self.until_look = LOOK;
    }

    /// What is wrong now, the worst first. `now`: since when facts are that are new.
    pub fn findings(&mut self, facts: &Facts<'_>, now: Moment) -> Vec<Finding> {
        self.note(Kind::Muted, facts.mute.map(|mute| muted(mute, now)));
        let channels = facts.channels;
        self.note(Kind::DeadChannel, dead_channels(channels, now));
        self.note(Kind::OppositePolarity, inverted_channels(channels, now));
        let found = self.open.iter().map(|open| &open.finding);
        let found = found.filter(|finding| !self.explained(finding.kind));
        let mut found: Vec<Finding> = found.cloned().collect();
        found.sort_by_key(|finding| finding.kind);
        found
    }

    /// Whether something else that was found is the reason.
    fn explained(&self, kind: Kind) -> bool {
        match kind {
            Kind::Muted => false,
            Kind::Silence | Kind::DeadChannel | Kind::OppositePolarity | Kind::Dc => {
                self.is_open(Kind::Muted)
            }
            _ => self.is_open(Kind::Muted) || self.is_open(Kind::Silence),
        }
    }

    fn is_open(&self, kind: Kind) -> bool {
        self.open.iter().any(|open| open.finding.kind == kind)
    }

    /// Looks at all figures.
    fn look(&mut self) {
        let center = percentile_of(self.memory.all().map(|figures| figures.mean), 0.5);
        if (center - self.center).abs() > CENTER {
            self.amplitudes.clear();
            self.center = center;
        }
        let silence = self.silence(self.is_open(Kind::Silence));
        self.note(Kind::Silence, silence);
        let noise = self.noise(self.is_open(Kind::Noise));
        self.note(Kind::Noise, noise);
        let quiet = self.too_quiet(self.is_open(Kind::TooQuiet));
        self.note(Kind::TooQuiet, quiet);
        let clipping = self.clipping(self.is_open(Kind::Clipping));
        self.note(Kind::Clipping, clipping);
        let dc = self.dc(self.is_open(Kind::Dc));
        self.note(Kind::Dc, dc);
    }

    /// Begins, goes on with, or ends a finding.
    fn note(&mut self, kind: Kind, found: Option<Observation>) {
        let known = self.open.iter().position(|open| open.finding.kind == kind);
        match (known, found) {
            (None, None) => {}
            (None, Some(found)) => self.open.push(found.opened(kind)),
            (Some(known), Some(found)) => {
                let since = self.open[known].finding.since;
                self.open[known] = found.opened(kind);
                self.open[known].finding.since = since;
            }
            (Some(known), None) => {
                self.open[known].missed += 1;
                if self.open[known].missed > linger(kind) {
                    self.open.remove(known);
                }
            }
        }
    }

    fn silence(&self, was: bool) -> Option<Observation> {
        let broken = |windows| {
            let lately = self.memory.last(windows)?;
            Some(lately.filter(|figures| !figures.is_constant()).count())
        };
        let goes_on = was && broken(SILENCE_BROKEN_IN)? < SILENCE_BROKEN;
        if !goes_on && broken(SILENCE)? > 0 {
            return None;
        }
        let unbroken = self
            .memory
            .all()
            .rev()
            .take_while(|figures| figures.is_constant());
        let newest = self
            .memory
            .all()
            .rev()
            .find(|figures| figures.is_constant())?;
        let value = newest.mean;
        Some(Observation {
            since: unbroken.last().unwrap_or(newest).moment,
            value: Some(value),
            unit: "full scale",
            text: match value.abs() < ZERO {
                true => "nothing but zeros, which no microphone gives".into(),
                false => format!("nothing but one value ({value:+.3}), which no microphone gives"),
            },
            remedy: "look for a switch on the microphone or its cable, and whether it is the right source: v2m-engine sources".into(),
        })
    }

    fn noise(&self, was: bool) -> Option<Observation> {
        let lately = self.memory.last(self.patience)?;
        if lately
            .clone()
            .any(|figures| figures.speech || figures.is_constant())
        {
            return None;
        }
        let since = lately.clone().next()?.moment;
        let levels = lately.clone().map(|figures| figures.high_db);
        let loudest = levels.clone().fold(NOTHING_DB, f32::max);
        if loudest - percentile_of(levels, 0.05) > EVEN.of(was) {
            return None;
        }
        let level = percentile_of(lately.map(|figures| figures.level_db), 0.5);
        (level <= FAINT.of(was)).then(|| Observation {
            since,
            value: Some(level),
            unit: "dBFS",
            text: format!("only faint, even noise at {level:.0} dBFS, and nothing else"),
            remedy: "speak; if it stays, look for a switch on the microphone, its plug and its gain, or take another source: v2m-engine sources".into(),
        })
    }

    fn too_quiet(&self, was: bool) -> Option<Observation> {
        if self.is_open(Kind::Noise) {
            return None;
        }
        let speech = self.memory.all().filter(|figures| figures.speech);
        let (limit, level, first, what) = if speech.clone().count() >= SPEECH {
            let powers = speech
                .clone()
                .map(|figures| 10_f32.powf(figures.level_db / 10.0));
            let mean = powers.sum::<f32>() / speech.clone().count() as f32;
            (
                QUIET_SPEECH,
                10.0 * mean.log10(),
                speech.clone().next()?,
                "speech at",
            )
        } else {
            let mut all = self.memory.last(MEMORY)?;
            let share = 1.0 - LOUDEST as f32 / MEMORY as f32;
            let level = percentile_of(all.clone().map(|figures| figures.level_db), share);
            (QUIET, level, all.next()?, "nothing but sounds below")
        };
        (level <= limit.of(was)).then(|| Observation {
            since: first.moment,
            value: Some(level),
            unit: "dBFS",
            text: format!("{what} {level:.0} dBFS, which is too quiet"),
            remedy: "raise the input volume (wpctl set-volume @DEFAULT_AUDIO_SOURCE@ 100%, or alsamixer -V capture) or the microphone's own gain, or come closer".into(),
        })
    }

    fn clipping(&self, was: bool) -> Option<Observation> {
        let runs: u32 = match self.memory.last(FLAT_WINDOWS) {
            Some(lately) => lately.map(|figures| figures.flat_runs).sum(),
            None => self.memory.all().map(|figures| figures.flat_runs).sum(),
        };
        let pile = self.amplitudes.pile();
        let pile = pile.filter(|pile| pile.steepness >= STEEP.of(was));
        let full = runs as f32 >= FLAT_RUNS.of(was);
        let level = match pile {
            _ if full => 1.0,
            Some(pile) => pile.level,
            None => return None,
        };
        // A pile's level is known to the width of a bin, that of its windows' peaks exactly.
        let peaks = self.memory.all().map(|figures| (figures, figures.peak()));
        let mut cut = peaks.filter(|(_, peak)| *peak >= level * 0.9);
        let level = percentile_of(cut.clone().map(|(_, peak)| peak), 0.5);
        let decibels = 20.0 * level.log10();
        let at_full_scale = decibels >= -0.5;
        Some(Observation {
            since: cut.next()?.0.moment,
            value: Some(decibels),
            unit: "dBFS",
            text: match at_full_scale {
                true => "peaks are cut off at full scale".into(),
                false => format!("peaks are cut off, at {decibels:.0} dBFS"),
            },
            remedy: match at_full_scale {
                true => "lower the input volume (wpctl set-volume @DEFAULT_AUDIO_SOURCE@ 50%, or alsamixer -V capture) or the microphone's own gain".into(),
                false => "lower the gain where the sound enters: the microphone's or the interface's own, or its boost (alsamixer -V capture)".into(),
            },
        })
    }

    fn dc(&self, was: bool) -> Option<Observation> {
        let lately = self.memory.last(DC_WINDOWS)?;
        let since = lately.clone().next()?.moment;
        let dc = percentile_of(lately.map(|figures| figures.mean), 0.5);
        (dc.abs() >= DC.of(was)).then(|| Observation {
            since,
            value: Some(dc),
            unit: "full scale",
            text: format!("a constant offset (DC) of {dc:+.3} of full scale under the sound"),
            remedy: "take another socket or sound card, or a high-pass filter in the program that reads the audio; speech detection is less sure of faint voices until then".into(),
        })
    }
}

/// What a look comes to.
struct Observation {
    since: Moment,
    value: Option<f32>,
    unit: &'static str,
    text: String,
    remedy: String,
}

impl Observation {
    fn opened(self, kind: Kind) -> OpenFinding {
        let finding = Finding {
            kind,
            since: self.since,
            value: self.value,
            unit: self.unit,
            text: self.text,
            remedy: self.remedy,
        };
        OpenFinding { finding, missed: 0 }
    }
}

/// Looks that a finding outlasts what shows it.
fn linger(kind: Kind) -> usize {
    match kind {
        Kind::Clipping => CLIPPING_LINGERS,
        _ => 0,
    }
}

fn muted(mute: &Mute, now: Moment) -> Observation {
    Observation {
        since: now,
        value: None,
        unit: "",
        text: mute.text.clone(),
        remedy: mute.remedy.clone(),
    }
}

/// Some have no sound while others have: where none has, that is silence.
fn dead_channels(channels: &[Channel], now: Moment) -> Option<Observation> {
    let names = names(channels, |channel| channel.dead)?;
    let alive = channels.iter().find(|channel| !channel.dead)?;
    let heard = channels
        .iter()
        .any(|channel| channel.heard && !channel.dead);
    let remedy = match heard {
        true => "nothing for speech, the others are heard at their own level; otherwise look at the cable of this input".into(),
        false => format!("hear another: --channel auto, or --channel {}", alive.name),
    };
    Some(Observation {
        since: now,
        value: None,
        unit: "",
        text: format!("{names}: no sound, while others have some"),
        remedy,
    })
}

fn inverted_channels(channels: &[Channel], now: Moment) -> Option<Observation> {
    let names = names(channels, |channel| channel.inverted)?;
    Some(Observation {
        since: now,
        value: None,
        unit: "",
        text: format!("{names}: opposite polarity, a mix of the channels would cancel speech"),
        remedy: "nothing for speech, one of them is heard; otherwise switch the polarity (\u{d8}) of this input, or mend its cable".into(),
    })
}

/// "channel FR" or "channels AUX2, AUX3"; `None` of none.
fn names(channels: &[Channel], are: impl Fn(&Channel) -> bool) -> Option<String> {
    let names: Vec<&str> = channels
        .iter()
        .filter(|channel| are(channel))
        .map(|channel| channel.name.as_str())
        .collect();
    match names[..] {
        [] => None,
        [name] => Some(format!("channel {name}")),
        _ => Some(format!("channels {}", names.join(", "))),
    }
}
