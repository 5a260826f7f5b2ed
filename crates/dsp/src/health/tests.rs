use proptest::prelude::*;

use super::*;

/// Numbers that look random: between -1 and 1.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Of level 1.
    fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.uniform()).sum::<f32>() * 0.866
    }
}

fn gain(decibels: f32) -> f32 {
    10_f32.powf(decibels / 20.0)
}

fn noise(seconds: f32, decibels: f32, seed: u64) -> Vec<f32> {
    let mut random = Random(seed | 1);
    let level = gain(decibels);
    (0..(seconds * 16_000.0) as usize)
        .map(|_| level * random.normal())
        .collect()
}

/// Syllables of a voice, four a second, each of another pitch and loudness, with a pause after
/// every eighth; over noise 50 dB below. Its level where it speaks is some -20 dBFS.
fn speech(seconds: f32, seed: u64) -> Vec<f32> {
    let mut random = Random(seed | 1);
    let mut samples = noise(seconds, -70.0, seed);
    for (n, syllable) in samples.chunks_mut(4_000).enumerate() {
        if n % 8 == 7 {
            continue;
        }
        let pitch = 150.0 + 60.0 * random.uniform();
        let loudness = gain(-12.0 + 6.0 * random.uniform());
        let formants = [
            500.0 + 250.0 * random.uniform(),
            1_500.0 + 500.0 * random.uniform(),
        ];
        for (t, sample) in syllable.iter_mut().enumerate() {
            let seconds = t as f32 / 16_000.0;
            // A pulse each period, which rings in two formants.
            let since = seconds % (1.0 / pitch);
            let rings = formants.map(|f| (std::f32::consts::TAU * f * since).sin());
            let envelope = (std::f32::consts::PI * t as f32 / 4_000.0).sin();
            *sample +=
                loudness * envelope * (-since * 300.0).exp() * (rings[0] + 0.5 * rings[1]) * 0.6;
        }
    }
    samples
}

fn moment(window: usize) -> Moment {
    Moment {
        position: (window * WINDOW) as u64,
        time_ns: window as i64 * 32_000_000,
    }
}

/// What a judge says after each window, without a detector.
fn hear(judge: &mut Judge, samples: &[f32]) -> Vec<Vec<Finding>> {
    let windows = samples.as_chunks::<WINDOW>().0.iter().enumerate();
    windows
        .map(|(n, window)| {
            judge.window(window, None, moment(n));
            judge.findings(&Facts::default(), moment(n))
        })
        .collect()
}

fn last(samples: &[f32]) -> Vec<Finding> {
    hear(&mut Judge::new(PATIENCE), samples).pop().unwrap()
}

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// How often a finding began or ended.
fn changes(findings: &[Vec<Finding>], kind: Kind) -> usize {
    let there = findings.iter().map(|now| kinds(now).contains(&kind));
    let there: Vec<bool> = std::iter::once(false).chain(there).collect();
    there.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

fn cut(samples: &mut [f32], over_db: f32) -> f32 {
    let peak = samples
        .iter()
        .fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    let limit = peak * gain(-over_db);
    for sample in samples {
        *sample = sample.clamp(-limit, limit);
    }
    limit
}

#[test]
fn nothing_is_said_before_something_was_heard() {
    let mut judge = Judge::new(PATIENCE);
    assert!(
        judge
            .findings(&Facts::default(), Moment::default())
            .is_empty()
    );
    for said in hear(&mut judge, &[0.0; WINDOW * 90]) {
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn what_was_not_captured_is_no_silence() {
    let mut judge = Judge::new(PATIENCE);
    let zeros = [0.0; WINDOW];
    for n in 0..50 {
        judge.window(&zeros, None, moment(n));
    }
    for _ in 0..1_000 {
        judge.gap(1);
        assert!(judge.findings(&Facts::default(), moment(50)).is_empty());
    }
    // What was heard before doesn't count any more; a short loss changes nothing.
    for n in 0..90 {
        judge.window(&zeros, None, moment(1_050 + n));
        assert!(judge.findings(&Facts::default(), moment(50)).is_empty());
    }
    judge.gap(3);
    for n in 0..20 {
        judge.window(&zeros, None, moment(1_143 + n));
    }
    let found = judge.findings(&Facts::default(), moment(1_163));
    assert_eq!(kinds(&found), [Kind::Silence]);
    assert_eq!(found[0].since, moment(1_050));
}

#[test]
fn a_bit_that_flips_now_and_then_is_silence_that_goes_on() {
    let mut samples = vec![0.0; 16_000 * 20];
    for sample in samples.iter_mut().skip(70_000).step_by(20_000) {
        *sample = 1.0 / 32_768.0;
    }
    let said = hear(&mut Judge::new(PATIENCE), &samples);
    assert_eq!(changes(&said, Kind::Silence), 1);
    assert_eq!(said.last().unwrap()[0].since.position, 0);
    // Speech ends it within half a second.
    samples.truncate(16_000 * 5);
    samples.extend(speech(1.0, 3));
    let said = hear(&mut Judge::new(PATIENCE), &samples);
    assert!(!said[155].is_empty() && said[156 + 15].is_empty());
}

#[test]
fn a_switch_that_is_off_explains_the_rest() {
    let mut judge = Judge::new(PATIENCE);
    hear(&mut judge, &[0.02; WINDOW * 200]);
    let mute = Mute {
        text: "muted".into(),
        remedy: "unmute".into(),
    };
    let facts = Facts {
        mute: Some(&mute),
        channels: &[],
    };
    let found = judge.findings(&facts, moment(200));
    assert_eq!(kinds(&found), [Kind::Muted]);
    assert_eq!((found[0].since, &*found[0].remedy), (moment(200), "unmute"));
    // Since when doesn't change while it lasts, and the rest comes back at its end.
    assert_eq!(judge.findings(&facts, moment(300))[0].since, moment(200));
    let found = judge.findings(&Facts::default(), moment(300));
    assert_eq!(kinds(&found), [Kind::Silence, Kind::Dc]);
    judge.forget();
    assert!(judge.findings(&Facts::default(), moment(300)).is_empty());
}

#[test]
fn channels_are_named() {
    let channel = |name: &str, heard, dead, inverted| Channel {
        name: name.into(),
        heard,
        dead,
        inverted,
    };
    let found = |channels: &[Channel]| {
        let facts = Facts {
            mute: None,
            channels,
        };
        Judge::new(PATIENCE).findings(&facts, moment(7))
    };
    let found_of = found(&[
        channel("FL", true, false, false),
        channel("FR", false, true, false),
        channel("AUX2", false, true, false),
        channel("AUX3", false, false, true),
    ]);
    assert_eq!(
        kinds(&found_of),
        [Kind::DeadChannel, Kind::OppositePolarity]
    );
    assert!(
        found_of[0].text.starts_with("channels FR, AUX2: "),
        "{found_of:?}"
    );
    assert!(
        found_of[0].remedy.starts_with("nothing for speech"),
        "{found_of:?}"
    );
    assert!(
        found_of[1].text.starts_with("channel AUX3: "),
        "{found_of:?}"
    );
    // The one that was chosen is dead.
    let found_of = found(&[
        channel("FL", false, false, false),
        channel("FR", true, true, false),
    ]);
    assert!(found_of[0].remedy.ends_with("--channel FL"), "{found_of:?}");
    // All of them: that is silence. One: no other would be heard.
    assert_eq!(
        found(&[
            channel("FL", false, true, false),
            channel("FR", false, true, false)
        ]),
        []
    );
    assert_eq!(found(&[channel("MONO", true, true, false)]), []);
}

#[test]
fn speech_that_the_detector_found_is_too_quiet_by_its_own_level() {
    let quiet = speech(5.0, 9)
        .iter()
        .map(|sample| sample * gain(-58.0))
        .collect::<Vec<_>>();
    let mut judge = Judge::new(PATIENCE);
    for (n, window) in quiet.as_chunks().0.iter().enumerate() {
        judge.window(window, Some(if n % 4 == 0 { 0.1 } else { 0.9 }), moment(n));
    }
    let found = judge.findings(&Facts::default(), moment(0));
    assert_eq!(kinds(&found), [Kind::TooQuiet]);
    assert!(found[0].text.starts_with("speech at -"), "{found:?}");
}

#[test]
fn a_thump_is_no_dc() {
    let mut samples = noise(6.0, -60.0, 1);
    samples[30_000..38_000].fill(0.5);
    let said = hear(&mut Judge::new(PATIENCE), &samples);
    assert_eq!(changes(&said, Kind::Dc), 0);
}

#[test]
fn tones_are_neither_cut_off_nor_noise() {
    for (n, frequency) in [50.0, 97.0, 440.0, 1_000.0, 3_000.0, 6_999.0]
        .into_iter()
        .enumerate()
    {
        let tone = |n| (std::f64::consts::TAU * frequency * f64::from(n) / 16_000.0).sin() as f32;
        // Wherever they lie in the bins, also just above the border of an octave.
        for decibels in [-5.9, -6.5 - 0.3 * n as f32] {
            let level = gain(decibels);
            let samples: Vec<f32> = (0..16_000 * 6).map(|n| level * tone(n)).collect();
            assert_eq!(last(&samples), [], "{frequency} Hz at {decibels} dB");
        }
    }
}

#[test]
fn numbers_that_are_none_count_as_silence() {
    let mut samples = vec![f32::NAN; WINDOW * 200];
    for sample in samples.iter_mut().step_by(3) {
        *sample = f32::INFINITY;
    }
    assert_eq!(kinds(&last(&samples)), [Kind::Silence]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn one_value_is_silence_and_dc_if_it_is_large(value in -0.9_f32..0.9, small in any::<bool>(), heard in 0_usize..200) {
        let value = if small { value / 100.0 } else { value };
        let mut samples = speech(6.4, 5);
        samples.truncate(heard * WINDOW);
        samples.resize((heard + 110) * WINDOW, value);
        let found = last(&samples);
        let large = value.abs() >= 0.015;
        prop_assert_eq!(kinds(&found), if large { vec![Kind::Silence, Kind::Dc] } else { vec![Kind::Silence] });
        prop_assert_eq!(found[0].since, moment(heard));
        prop_assert_eq!(found[0].value, Some(value));
    }

    #[test]
    fn faint_noise_is_noise_with_and_without_dc(decibels in -110_f32..-41.0, dc in prop_oneof![Just(0.0_f32), 0.02_f32..0.3], seed in any::<u64>()) {
        let samples: Vec<f32> = noise(11.0, decibels, seed).iter().map(|sample| sample + dc).collect();
        let said = hear(&mut Judge::new(PATIENCE), &samples);
        let found = said.last().unwrap();
        prop_assert_eq!(kinds(found), if dc > 0.0 { vec![Kind::Noise, Kind::Dc] } else { vec![Kind::Noise] });
        prop_assert!((found[0].value.unwrap() - decibels).abs() < 1.0, "{:?}", found);
        if dc > 0.0 {
            prop_assert!((found[1].value.unwrap() - dc).abs() < 0.002);
        }
        prop_assert_eq!(found[0].since.position, 0);
        prop_assert_eq!(changes(&said, Kind::Noise), 1);
        // A word ends it.
        let mut judge = Judge::new(PATIENCE);
        hear(&mut judge, &samples);
        let word: Vec<f32> = speech(0.5, seed).iter().map(|sample| sample + dc).collect();
        let said = hear(&mut judge, &word);
        prop_assert!(!kinds(said.last().unwrap()).contains(&Kind::Noise));
    }

    #[test]
    fn levels_at_a_limit_do_not_flicker(seed in any::<u64>(), decibels in -41.5_f32..-38.5) {
        let mut samples = noise(25.0, 0.0, seed);
        let mut random = Random(seed | 1);
        for part in samples.chunks_mut(8_000) {
            let level = gain(decibels + random.uniform());
            part.iter_mut().for_each(|sample| *sample *= level);
        }
        let said = hear(&mut Judge::new(PATIENCE), &samples);
        prop_assert!(changes(&said, Kind::Noise) <= 1);
    }

    #[test]
    fn speech_is_well_at_all_levels_but_the_faintest(seed in any::<u64>(), decibels in -60_f32..0.0) {
        let samples: Vec<f32> = speech(14.0, seed).iter().map(|sample| sample * gain(decibels)).collect();
        let said = hear(&mut Judge::new(PATIENCE), &samples);
        let found = said.last().unwrap();
        if decibels > -40.0 {
            prop_assert!(said.iter().all(Vec::is_empty), "{:?}", found);
        } else if decibels < -55.0 {
            prop_assert_eq!(kinds(found), [Kind::TooQuiet]);
        }
        prop_assert!(changes(&said, Kind::TooQuiet) <= 1);
    }

    #[test]
    fn cut_off_peaks_are_found_at_any_level(seed in any::<u64>(), over in 9_f32..20.0, decibels in -24_f32..0.0) {
        let mut samples = speech(8.0, seed);
        let limit = cut(&mut samples, over);
        let scale = gain(decibels) / limit;
        samples.iter_mut().for_each(|sample| *sample *= scale);
        let said = hear(&mut Judge::new(PATIENCE), &samples);
        let found = said.last().unwrap();
        // What is cut off more on one side has an offset, too.
        prop_assert!(found.first().is_some_and(|first| first.kind == Kind::Clipping), "{found:?}");
        prop_assert!((found[0].value.unwrap() - decibels).abs() < 1.0, "{:?}", found);
        prop_assert!(changes(&said, Kind::Clipping) <= 1);
    }
}
