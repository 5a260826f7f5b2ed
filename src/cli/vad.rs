//! `v2m-engine vad`: where speech is, in any number of files.

mod formats;
mod inputs;
mod page;
mod picture;
mod progress;
mod shape;
mod work;

use std::path::PathBuf;

use v2m_dsp::vad::corpus::Search;
use v2m_dsp::vad::hearing::Hearing;
use v2m_dsp::vad::segment::{Params, Split};
use v2m_error::{Error, ErrorKind, Result};

use super::detection::Detection;
use formats::Format;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files (WAV, FLAC, MP3, Ogg Vorbis, AAC, ALAC, AIFF, CAF), folders (all such files in
    /// them), and patterns like 'talks/**/*.flac'
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// What to write
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Write one result file for each input file into this folder, instead of all to standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Skip files that already have a result in --out's folder
    #[arg(long, requires = "out")]
    skip_existing: bool,

    /// Draw each file as an SVG in this folder, with a page of all of them where a click plays the audio
    #[arg(long, value_name = "DIR")]
    picture: Option<PathBuf>,

    /// How many threads to use [default: one for each core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    #[command(flatten)]
    detection: Detection,

    /// A pause longer than this may split a segment that gets too long
    #[arg(long, value_name = "MS", default_value_t = Params::default().split_silence_ms)]
    split_silence_ms: u32,

    /// Where to split it: at the longest pause, the last, or, without a pause, the quietest place
    #[arg(long, value_name = "longest|last|quietest", default_value = Split::default().name())]
    split: Split,

    /// How the detector hears: plain (Silero's own probabilities) or enhanced (without DC and
    /// rumble, weak audio amplified)
    #[arg(long, value_name = "plain|enhanced", default_value = Hearing::Plain.name())]
    hearing: Hearing,
}

/// Whether every file could be read to its end.
pub(super) fn run(arguments: Arguments) -> Result<bool> {
    let inputs = inputs::find(&arguments.files)?;
    if arguments.format == Format::Srt && arguments.out.is_none() && inputs.len() > 1 {
        let message = "--format srt: subtitles are for one file; give --out DIR for several";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if arguments.out.is_some() || arguments.picture.is_some() {
        inputs::check_names(&inputs)?;
    }
    let search = Search {
        params: Params {
            split_silence_ms: arguments.split_silence_ms,
            split: arguments.split,
            ..(&arguments.detection).into()
        },
        hearing: arguments.hearing,
        jobs: arguments.jobs,
        probabilities: arguments.picture.is_some(),
    };
    search.params.validate()?;
    work::run(
        &inputs,
        &search,
        &work::Wanted {
            format: arguments.format,
            out: arguments.out,
            skip_existing: arguments.skip_existing,
            picture: arguments.picture,
        },
    )
}
