//! Cancels echo in a pipe: `cancel RATE [low|high|auto]...` takes pairs of f32, microphone and loudspeaker, from
//! standard input, and gives the microphone without the loudspeaker as f32; sample n of the
//! output is sample n of the input.

use std::io::{Read, Write, stdin, stdout};

use v2m_echo::{Canceller, Cleaned, Gain, Noise, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: cancel RATE [low|high|auto]...";
    let mut arguments = std::env::args().skip(1);
    let rate = arguments.next().ok_or(USAGE)?.parse()?;
    let mut options = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "low" => options.noise = Noise::Low,
            "high" => options.noise = Noise::High,
            "auto" => options.gain = Gain::Auto,
            _ => return Err(USAGE.into()),
        }
    }
    let mut canceller = Canceller::new(rate, options)?;
    let mut input = Vec::new();
    stdin().lock().read_to_end(&mut input)?;
    let sample = |bytes: &[u8]| f32::from_ne_bytes(bytes.try_into().expect("4 bytes"));
    let pairs = input.chunks_exact(8);
    let (near, far): (Vec<f32>, Vec<f32>) = pairs
        .map(|pair| (sample(&pair[..4]), sample(&pair[4..])))
        .unzip();
    let mut cleaned = Cleaned::default();
    for (near, far) in near.chunks(1024).zip(far.chunks(1024)) {
        canceller.process(near, far, &mut cleaned);
    }
    let bytes: Vec<u8> = cleaned
        .samples
        .iter()
        .flat_map(|s| s.to_ne_bytes())
        .collect();
    stdout().lock().write_all(&bytes)?;
    Ok(())
}
