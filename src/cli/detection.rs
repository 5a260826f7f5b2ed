//! What counts as speech, as every command that listens takes it.

use v2m_dsp::vad::segment::Params;

#[derive(clap::Args)]
pub(super) struct Detection {
    /// A window with at least this probability is speech
    #[arg(long, value_name = "P", default_value_t = Params::default().threshold)]
    threshold: f32,

    /// The probability below which a pause begins [default: 0.15 below the threshold]
    #[arg(long, value_name = "P")]
    neg_threshold: Option<f32>,

    /// Speech must be longer than this to count
    #[arg(long, value_name = "MS", default_value_t = Params::default().min_speech_ms)]
    min_speech_ms: u32,

    /// A pause of this length ends a segment
    #[arg(long, value_name = "MS", default_value_t = Params::default().min_silence_ms)]
    min_silence_ms: u32,

    /// Added before and after each segment
    #[arg(long, value_name = "MS", default_value_t = Params::default().pad_ms)]
    pad_ms: u32,

    /// Split longer speech at its longest pause, or where it is quietest
    #[arg(long, value_name = "SECONDS", default_value_t = Params::default().max_s)]
    max_s: f64,
}

impl From<&Detection> for Params {
    fn from(detection: &Detection) -> Self {
        Self {
            threshold: detection.threshold,
            neg_threshold: detection.neg_threshold,
            min_speech_ms: detection.min_speech_ms,
            min_silence_ms: detection.min_silence_ms,
            pad_ms: detection.pad_ms,
            max_s: detection.max_s,
            ..Self::default()
        }
    }
}
